"""The secrets that key digests are made under: versioned, from settings.KEY_PEPPERS, never in the database."""

from collections.abc import Iterator

from django.conf import settings

from accounts import keys


def current_pepper() -> tuple[int, bytes]:
    """Version and secret that new keys are digested under: the highest version."""
    version = max(settings.KEY_PEPPERS)
    return version, settings.KEY_PEPPERS[version]


def digests(key: str) -> Iterator[bytes]:
    """The digests `key` may be stored under, the newest pepper first."""
    for version in sorted(settings.KEY_PEPPERS, reverse=True):
        yield keys.digest(key, settings.KEY_PEPPERS[version])
