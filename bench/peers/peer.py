"""What the bench knows of a peer."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from bench.programs import BUILD
from gateway.local.processes import Service

LITELLM, LITELLM_DATABASE, PORTKEY, NGINX = "LiteLLM", "LiteLLM with database", "Portkey", "nginx"
NOT_INSTALLED = "not installed (python -m bench install-peers)"
FOLDER = Path(os.environ.get("BENCH_PEERS", BUILD / "peers"))


class Absent(Exception):
    """It is not here, or cannot be: why."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a peer runs."""

    run: Path  # for its configuration, logs and data
    port: int
    upstream_port: int


class Peer(Protocol):
    name: str

    def install(self) -> None:
        """Into its folder, with the ordinary client of its registry. Raises Absent."""

    def about(self) -> str:
        """Version and set-up. Raises Absent where it is not installed."""

    def services(self, place: Place) -> dict[str, Service]:
        """What to run, in this order, by the part whose CPU time it is; `gateway` comes last."""

    def headers(self, place: Place) -> tuple[str, ...]:
        """Of each request, once it runs. Raises Absent where it gives no key."""


def said(*words: str | Path, variables: Mapping[str, str] = MappingProxyType({})) -> str:
    """What a command printed. Raises Absent where it failed."""
    try:
        done = subprocess.run(words, env={**os.environ, **variables}, check=True, capture_output=True, text=True)
    except OSError as error:
        raise Absent(str(error)) from error
    except subprocess.CalledProcessError as error:
        raise Absent(
            f"{' '.join(map(str, words[:4]))} failed: {(error.stderr or error.stdout).strip()[-300:]}"
        ) from error
    return (done.stdout or done.stderr).strip()
