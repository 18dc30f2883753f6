"""The client of a relayed answer, as the relay sees it."""

from collections.abc import Callable
from typing import Protocol

Headers = list[tuple[bytes, bytes]]


class Client(Protocol):
    """Nothing sent to a client that is gone goes anywhere or fails."""

    @property
    def is_gone(self) -> bool: ...
    def when_gone(self, act: Callable[[], None]) -> None: ...
    async def start(self, status: int, headers: Headers) -> None: ...
    async def send(self, data: bytes) -> None: ...
    async def end(self, data: bytes = b"") -> None: ...
