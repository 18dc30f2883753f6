"""The secrets that key digests are made under: versioned, from settings.KEY_PEPPERS, never in the database."""

from django.conf import settings

from accounts import keys


def current_pepper() -> tuple[int, bytes]:
    """Version and secret that new keys are digested under: the highest version."""
    version = max(settings.KEY_PEPPERS)
    return version, settings.KEY_PEPPERS[version]


def peppers() -> list[bytes]:
    """All that are in use, the newest first."""
    return [settings.KEY_PEPPERS[version] for version in sorted(settings.KEY_PEPPERS, reverse=True)]


def digests(key: str) -> list[bytes]:
    """The digests `key` may be stored under, the newest pepper first."""
    return [keys.digest(key, pepper) for pepper in peppers()]
