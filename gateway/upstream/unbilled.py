"""Calls that cost the tenant nothing: counts, and whatever is asked of a stored response.

Nothing here knows the meter. What they take of the upstream is bounded by how many an organization has under way.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol
from uuid import UUID

from gateway.upstream.failures import UpstreamFailed
from gateway.wire.tap import Reading


class Ending(Protocol):
    """Whom a relay tells how an answer goes and ends; `Outcome` says what each means."""

    is_known: bool
    status: int | None
    upstream_request_id: str

    async def dispatch(self) -> None: ...
    async def opens(self, reading: Reading) -> None: ...
    def sent(self) -> None: ...
    def watched(self, reading: Reading) -> None: ...
    def answer_begins(self, status: int) -> None: ...
    async def ended(self, reading: Reading, *, drained: bool, without_usage: str = ...) -> None: ...
    async def cut(self, reading: Reading, *, flag: str) -> None: ...
    async def failed(self, failure: UpstreamFailed) -> None: ...
    def abandoned(self, reading: Reading, *, is_charged: bool) -> None: ...


class Unbilled:
    """The ending of an answer that is in no books."""

    def __init__(self) -> None:
        self.is_known = False
        self.status: int | None = None
        self.upstream_request_id = ""

    async def dispatch(self) -> None:
        pass

    async def opens(self, reading: Reading) -> None:
        pass

    def sent(self) -> None:
        pass

    def watched(self, reading: Reading) -> None:
        pass

    def answer_begins(self, status: int) -> None:
        self.status = status

    async def ended(self, reading: Reading, *, drained: bool, without_usage: str = "") -> None:
        self.is_known = True

    async def cut(self, reading: Reading, *, flag: str) -> None:
        self.is_known = True

    async def failed(self, failure: UpstreamFailed) -> None:
        self.is_known = True

    def abandoned(self, reading: Reading, *, is_charged: bool) -> None:
        self.is_known = True


class TooManyAtOnce(Exception):
    """The organization has as many calls of that kind under way as it may. `most`: how many that is."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.most = most


class Rooms:
    """So many at once for an organization: nobody has upstreams work for the sport, or takes all connections."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._running: Counter[UUID] = Counter()

    @contextmanager
    def taken(self, organization_id: UUID) -> Iterator[None]:
        """One of them, while it lasts; TooManyAtOnce where there is none left."""
        if self._running[organization_id] >= self._most:
            raise TooManyAtOnce(self._most)
        self._running[organization_id] += 1
        try:
            yield
        finally:
            self._running[organization_id] -= 1
            if not self._running[organization_id]:
                del self._running[organization_id]
