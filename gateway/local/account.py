"""As whom PostgreSQL runs here, and making its data that account's."""

import contextlib
import os
import pwd
import signal
import subprocess
from functools import cache
from pathlib import Path

from gateway.local import leash
from gateway.local.processes import Account, leashed
from gateway.local.wheels import postgres_programs


@cache
def account() -> Account:
    """PostgreSQL refuses root, and initdb refuses a number without a name."""
    if os.geteuid() != 0 and _has_a_name(os.geteuid()):
        return "own"
    probe = leashed([str(postgres_programs() / "postgres"), "--version"], signal.SIGKILL, "namespace")
    if subprocess.run(probe, capture_output=True, check=False).returncode != leash.NO_LEASH:  # noqa: S603 - our own words
        return "namespace"
    return "own" if os.geteuid() else "nobody"


def give(folder: Path) -> None:
    """Changes nothing where the account was not changed."""
    owner = leash.nobody() if account() == "nobody" else os.geteuid()
    if folder.stat().st_uid != owner:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, owner, -1, follow_symlinks=False)


def _has_a_name(user: int) -> bool:
    with contextlib.suppress(KeyError):
        return bool(pwd.getpwuid(user).pw_name)
    return False
