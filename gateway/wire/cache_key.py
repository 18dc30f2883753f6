"""prompt_cache_key as the upstream gets it: told apart by organization, so that none learns by timing what another has
sent; and as the tenant gets it back. Pure.

The organization's mark stands before the tenant's key, so that an answer read much later can be restored without having
kept anything. A request without a key gets the mark alone.
"""

import re
from hashlib import blake2b
from uuid import UUID

import msgspec

LONGEST = 64  # characters that upstreams take
# Not where a text quotes JSON: there a backslash stands before each quote.
FIELD = rb'(?<!\\)("prompt_cache_key"\s*+:\s*+)"'
REST = rb'((?:[^"\\]|\\.)*+)"'


class CacheKey:
    """The keys of one organization. `key`: the tenant's own of this request, None where it has none or is not known."""

    def __init__(self, organization_id: UUID, key: str | None = None) -> None:
        self._key = key
        self._mark = "tg" + blake2b(organization_id.bytes, digest_size=6).hexdigest() + "-"
        self._quoted = b'"' + self._mark.encode()
        self._marked = re.compile(FIELD + self._mark.encode() + REST, re.DOTALL)

    @property
    def upward(self) -> str:
        """What the upstream gets; of a key that would become too long, a digest of it."""
        key = self._mark + (self._key or "")
        if len(key) <= LONGEST:
            return key
        return self._mark + blake2b(key.encode(errors="surrogatepass"), digest_size=20).hexdigest()

    def restored(self, document: bytes) -> bytes:
        """JSON, or events, with the tenant's key where the upstream says what it got, and not a byte changed beside."""
        return self._marked.sub(self._own, document) if self._quoted in document else document

    def _own(self, marked: re.Match[bytes]) -> bytes:
        field, rest = marked.groups()
        if self._key is not None:
            return bytes(field + msgspec.json.encode(self._key))
        return bytes(field + (b'"' + rest + b'"' if rest else b"null"))
