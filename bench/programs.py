"""The C programs of the bench, built with gcc into bench/build/.

`mock.c` is an upstream that answers at once (model `sse-N-D`: N deltas, D ms apart; any other: one JSON answer), `lg.c`
a closed-loop load generator that checks every answer. Both are far cheaper than the gateway they surround.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
BUILD = FOLDER / "build"


class NoCompiler(Exception):
    """gcc is not installed."""


@dataclass(frozen=True, slots=True)
class Programs:
    upstream: Path
    load: Path


def build() -> Programs:
    """Raises NoCompiler, and CalledProcessError where gcc fails."""
    if shutil.which("gcc") is None:
        raise NoCompiler
    BUILD.mkdir(exist_ok=True)
    return Programs(upstream=_built("mock"), load=_built("lg"))


def _built(name: str) -> Path:
    source, program = FOLDER / f"{name}.c", BUILD / name
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        draft = BUILD / f"{name}.{os.getpid()}"  # renamed once complete: two runs may build at the same time
        subprocess.run(["gcc", "-O2", "-w", "-o", str(draft), str(source)], check=True)
        draft.rename(program)
    return program
