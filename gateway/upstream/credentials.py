"""The upstream's own key, opened only here, where the upstream is called."""

from functools import lru_cache
from uuid import UUID

from gateway import sealing


@lru_cache(maxsize=1024)
def authorization(upstream_id: UUID, sealed_key: bytes | None) -> bytes | None:
    """The Authorization header for an upstream; None where it has no key. CannotUnseal where it does not open."""
    if sealed_key is None:
        return None
    return b"Bearer " + sealing.unseal(sealed_key, f"gateway_upstream:{upstream_id}".encode())
