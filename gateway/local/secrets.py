"""Secrets that development makes for itself, kept under `var/secrets/`, readable by their owner alone."""

import base64
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

Make = Callable[[], str]


def token() -> str:
    return secrets.token_urlsafe(48)


def key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


def kept(path: Path, make: Make) -> str:
    """What the file holds; made on first use. Two processes that start at once end up with the same secret."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_text(make())
        with suppress(FileExistsError):  # another process was first
            path.hardlink_to(draft)
        draft.unlink()
    return path.read_text()
