"""The environment, read strictly for settings.py: every refusal is a sentence that says what to set.

Nothing configured means the embedded default: private servers and secrets of this machine under `var/`.
"""

import base64
import binascii
import difflib
import os
from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

from gateway.local import secrets

PREFIX = "TOLLGATE_"
MODES = ("development", "production", "test")
LEAST_SECRET_LENGTH = 32


class Environment:
    """What was asked for, by name. Names are documented in docs/settings.md."""

    def __init__(self, base: Path) -> None:
        self._env = environ.Env()
        self._known = {"TOLLGATE_VAR", "TOLLGATE_ENV", "TOLLGATE_DEMO"}
        self.folder = Path(self._env.str("TOLLGATE_VAR", str(base / "var"))).resolve()
        self.embedded = not self._env.str("DATABASE_URL", "")
        self.mode = self._env.str("TOLLGATE_ENV", "development" if self.embedded else "production")
        if self.mode not in MODES:
            raise ImproperlyConfigured(f"TOLLGATE_ENV is {self.mode!r}: set it to one of {', '.join(MODES)}.")
        if self.mode == "production" and self.embedded:
            raise ImproperlyConfigured(
                "DATABASE_URL: production needs it, e.g. postgres://user:password@host/tollgate."
            )

    def text(self, name: str, default: str) -> str:
        self._known.add(name)
        return str(self._env.str(name, default))

    def path(self, name: str, default: Path) -> Path:
        return Path(self.text(name, str(default))).resolve()

    def faults(self, name: str) -> str:
        """Faults to inject, in tests alone."""
        value = self.text(name, "")
        if value and self.mode != "test":
            raise ImproperlyConfigured(f"{name}: faults are injected with TOLLGATE_ENV=test alone. Unset it.")
        return value

    def choice(self, name: str, choices: tuple[str, ...], default: str) -> str:
        value = self.text(name, default)
        if value not in choices:
            raise ImproperlyConfigured(f"{name} is {value!r}: set it to one of {', '.join(choices)}.")
        return value

    def number(self, name: str, default: int, *, least: int) -> int:
        return int(self._bounded(name, default, least))

    def seconds(self, name: str, default: float, *, least: float = 0.001) -> float:
        return self._bounded(name, default, least)

    def names(self, name: str) -> frozenset[str]:
        return frozenset(part.strip() for part in self.text(name, "").split(",") if part.strip())

    def hosts(self, name: str, default: list[str]) -> list[str]:
        hosts = [host.strip() for host in self.text(name, ",".join(default)).split(",") if host.strip()]
        if self.mode == "production" and ("*" in hosts or not self._env.str(name, "")):
            raise ImproperlyConfigured(f"{name}: set it to the names this gateway is reached by, without a lone *.")
        return hosts

    def secret(self, name: str) -> str:
        secret = self._secret(name, secrets.token)
        if len(secret) < LEAST_SECRET_LENGTH:
            raise ImproperlyConfigured(f"{name}: set it to at least {LEAST_SECRET_LENGTH} random characters.")
        return secret

    def peppers(self, name: str) -> dict[int, bytes]:
        """`1:secret[,2:secret]`: version -> secret. New digests are made under the highest version."""
        versions = self._versions(name, lambda: f"1:{secrets.token()}")
        if any(len(pepper) < LEAST_SECRET_LENGTH for pepper in versions.values()):
            raise ImproperlyConfigured(f"{name}: each pepper needs at least {LEAST_SECRET_LENGTH} random characters.")
        return {version: pepper.encode() for version, pepper in versions.items()}

    def sealing_keys(self, name: str) -> dict[int, bytes]:
        """`1:base64[,2:base64]`: version -> 32 bytes. New values are sealed under the highest version."""
        versions = self._versions(name, lambda: f"1:{secrets.key()}")
        try:
            keys = {version: base64.b64decode(key, validate=True) for version, key in versions.items()}
        except binascii.Error:
            keys = {}
        if not keys or any(len(key) != 32 for key in keys.values()):
            raise ImproperlyConfigured(f"{name}: each key is 32 random bytes in base64 (openssl rand -base64 32).")
        return keys

    def database_url(self, default: str) -> str:
        url = self.text("DATABASE_URL", "") or default
        if not url.startswith(("postgres://", "postgresql://")):
            raise ImproperlyConfigured(
                "DATABASE_URL: only PostgreSQL is supported: postgres://user:password@host/name."
            )
        return url

    def database(self, url: str) -> dict[str, Any]:
        """Django's form of a database URL."""
        return dict(environ.Env.db_url_config(url))

    def redis_url(self, name: str, default: str) -> str:
        url = self.text(name, "") or default
        if self.mode == "production" and name == "REDIS_URL" and not self._env.str(name, ""):
            raise ImproperlyConfigured(f"{name}: production needs it, e.g. redis://host:6379/0.")
        if not url.startswith(("redis://", "rediss://", "unix://", "redis+socket://")):
            raise ImproperlyConfigured(f"{name}: use redis://host:6379/0, rediss://... or unix:///path.")
        return url

    def refuse_unknown(self) -> None:
        """A misspelt TOLLGATE_ name would silently leave its default in place."""
        known = [name.removeprefix(PREFIX) for name in self._known if name.startswith(PREFIX)]
        for name in os.environ:
            if name.startswith(PREFIX) and name not in self._known:
                near = difflib.get_close_matches(name.removeprefix(PREFIX), known, n=1)
                meant = f" Did you mean {PREFIX}{near[0]}?" if near else ""
                raise ImproperlyConfigured(f"{name} is no setting of Tollgate.{meant} docs/settings.md lists them.")

    def _bounded(self, name: str, default: float, least: float) -> float:
        text = self.text(name, str(default))
        try:
            value = float(text)
        except ValueError:
            raise ImproperlyConfigured(f"{name} is {text!r}: set it to a number.") from None
        if not least <= value < float("inf"):
            raise ImproperlyConfigured(f"{name} is {text}: set it to at least {least:g}.")
        return value

    def _secret(self, name: str, make: secrets.Make) -> str:
        given = self.text(name, "")
        if given:
            return given
        if self.mode == "production":
            raise ImproperlyConfigured(f"{name}: production needs it; docs/settings.md says how to make one.")
        return secrets.kept(self.folder / "secrets" / name.lower(), make)

    def _versions(self, name: str, make: secrets.Make) -> dict[int, str]:
        versions: dict[int, str] = {}
        for entry in self._secret(name, make).split(","):
            version, colon, value = entry.strip().partition(":")
            if not colon or not version.isdecimal() or not 1 <= int(version) <= 255 or int(version) in versions:
                raise ImproperlyConfigured(f"{name}: write it as 1:SECRET, older and newer versions joined by commas.")
            versions[int(version)] = value
        return versions
