"""LiteLLM's proxy, from PyPI in a Python of its own: with a master key alone, and with its database, a virtual key and
a budget, as the gateway has them.
"""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from bench import machine
from bench.load import MODEL
from bench.peers.peer import FOLDER, LITELLM, LITELLM_DATABASE, NOT_INSTALLED, Absent, Place, said
from gateway.local.embedded import PostgresServer, database_url
from gateway.local.processes import Service

# Fixed: a 1.107.0 was reported as compromised.
PACKAGES = (
    "litellm[proxy]==1.106.2", "httptools", "opentelemetry-api", "opentelemetry-sdk", "opentelemetry-exporter-otlp",
)  # fmt: skip
PYTHONS = ("python3.13", "python3.12")
MASTER_KEY = "sk-bench-master-0001"
VERSION = "from importlib.metadata import version; print(version('litellm'))"
START_SECONDS = 180.0
PRISMA_THERE = "prisma-is-there"


class LiteLLM:
    name = LITELLM
    folder = FOLDER / "litellm"
    variables = {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # its own, not one from the network
        "LITELLM_LOG": "ERROR",
        "LITELLM_TELEMETRY": "False",
    }

    def install(self) -> None:
        if not self._python().exists():
            said(_python(), "-m", "venv", "--clear", self.folder)
        said(self._python(), "-m", "pip", "install", "-q", *PACKAGES)

    def about(self) -> str:
        if not (self.folder / "bin" / "litellm").exists():
            raise Absent(NOT_INSTALLED)
        version, python = said(self._python(), "-c", VERSION), said(self._python(), machine.__file__)
        return f"{version} on {python}, one worker, master key, no database"

    def services(self, place: Place) -> dict[str, Service]:
        route = {
            "model": f"openai/{MODEL}",
            "api_base": f"http://127.0.0.1:{place.upstream_port}/v1",
            "api_key": "sk-m",
        }
        settings = {
            "model_list": [{"model_name": MODEL, "litellm_params": route}],
            "general_settings": {"master_key": MASTER_KEY},
        }
        (place.run / "litellm.yaml").write_text(json.dumps(settings))  # JSON is YAML
        return {"gateway": self._service(place, self.variables)}

    def headers(self, place: Place) -> tuple[str, ...]:
        return (f"Authorization: Bearer {MASTER_KEY}",)

    def _service(self, place: Place, variables: dict[str, str]) -> Service:
        words = ["--config", str(place.run / "litellm.yaml"), "--host", "127.0.0.1", "--port", str(place.port)]
        words += ["--num_workers", "1", "--telemetry", "False"]
        return Service(
            name=self.name,
            argv=[str(self._python()), str(self.folder / "bin" / "litellm"), *words],
            log=place.run / "litellm.log",
            env=variables,
            start_deadline=START_SECONDS,
        )

    def _python(self) -> Path:
        return self.folder / "bin" / "python"


class LiteLLMWithDatabase(LiteLLM):
    """The fair twin, from the same folder. Its database client, Prisma, is a program that `prisma generate` downloads
    from Prisma's own host, so it can be absent where LiteLLM is there.
    """

    name = LITELLM_DATABASE

    def install(self) -> None:
        super().install()
        said(self._python(), "-m", "pip", "install", "-q", "prisma")
        said(self._python(), "-m", "prisma", "generate", "--schema", self._schema(), variables=self._prisma())
        (self.folder / PRISMA_THERE).touch()

    def about(self) -> str:
        if not (self.folder / PRISMA_THERE).exists():
            raise Absent("its database client, Prisma, could not be downloaded, or nothing was installed")
        return super().about().replace("master key, no database", "virtual key, budget, PostgreSQL")

    def services(self, place: Place) -> dict[str, Service]:
        super().services(place)
        url = database_url(place.run).replace("@/", "@localhost/")  # as Prisma wants it
        variables = {**self.variables, **self._prisma(), "DATABASE_URL": url}
        return {"postgresql": PostgresServer(place.run).service(), "gateway": self._service(place, variables)}

    def headers(self, place: Place) -> tuple[str, ...]:
        body = json.dumps({"models": [MODEL], "max_budget": 1_000_000, "budget_duration": "30d"})
        words = {"Authorization": f"Bearer {MASTER_KEY}", "Content-Type": "application/json"}
        try:
            asked = Request(f"http://127.0.0.1:{place.port}/key/generate", body.encode(), words)
            with urlopen(asked, timeout=30) as answer:
                issued: dict[str, Any] = json.load(answer)
        except (URLError, OSError) as error:
            raise Absent(f"it issued no key: {error}") from error
        return (f"Authorization: Bearer {issued['key']}",)

    def _prisma(self) -> dict[str, str]:
        """All that it downloads goes into the folder too."""
        path = os.pathsep.join([str(self.folder / "bin"), os.environ.get("PATH", "")])
        return {"PATH": path, "PRISMA_HOME_DIR": str(self.folder / "home")}

    def _schema(self) -> Path:
        return next(self.folder.glob("lib/python*/site-packages/litellm_proxy_extras/schema.prisma"))


def _python() -> str:
    """The one that runs this, where it will do: so both gateways have the same. Raises Absent."""
    root = shutil.which("pyenv")
    versions = Path(root).parent.parent / "versions" if root else Path("/nonexistent")
    own = [sys.executable] if sys.version_info[:2] in {(3, 12), (3, 13)} else []
    for candidate in [*own, *PYTHONS, *(str(found) for name in PYTHONS for found in versions.glob(f"*/bin/{name}"))]:
        if _runs(candidate):
            return candidate
    raise Absent("it needs a Python 3.12 or 3.13")


def _runs(candidate: str) -> bool:
    """A shim of pyenv's may be there without its Python."""
    try:
        said(candidate, "-c", "print()")
    except Absent:
        return False
    return True
