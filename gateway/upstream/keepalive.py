"""A stream that is silent for long is cut by what stands before the client: comments say that it lives."""

import asyncio
from collections.abc import Callable

from gateway.upstream.client import Client, Headers

KEEPALIVE = b": keepalive\n\n"  # a comment alone: real clients fail on events without data (protocol.md 2.3)


class KeptAlive:
    """A client that hears something at least every `seconds`, from the first event to the last; 0: it need not.

    A comment may only stand between whole events. What is sent here is whole events, so one goes out between two of
    them, and never while one is on its way to a slow reader.
    """

    def __init__(self, client: Client, seconds: float) -> None:
        self._client = client
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._comment: asyncio.Task[None] | None = None
        self._is_sending = False
        self._sent_at = 0.0

    @property
    def is_gone(self) -> bool:
        return self._client.is_gone

    def has_left(self) -> bool:
        return self._client.has_left()

    def when_gone(self, act: Callable[[], None]) -> None:
        self._client.when_gone(act)

    async def start(self, status: int, headers: Headers) -> None:
        await self._client.start(status, headers)

    async def send(self, data: bytes) -> None:
        """Whole events."""
        await self._commented()
        await self._put(data)
        if self._seconds and self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._look)

    async def end(self, data: bytes = b"") -> None:
        self.release()
        await self._commented()
        await self._client.end(data)

    def release(self) -> None:
        """No more comments: one that waits for a slow reader is taken back whole."""
        if self._timer is not None:
            self._timer.cancel()
        if self._comment is not None:
            self._comment.cancel()

    async def _commented(self) -> None:
        """No comment is on its way any more."""
        if self._comment is not None:
            await asyncio.wait([self._comment])
            self._comment = None

    async def _put(self, data: bytes) -> None:
        self._is_sending = True
        await self._client.send(data)
        self._is_sending = False
        self._sent_at = self._loop.time()

    def _look(self) -> None:
        if self.is_gone:
            return
        silent = 0.0 if self._is_sending else self._loop.time() - self._sent_at
        if silent >= self._seconds:
            self._comment = self._loop.create_task(self._put(KEEPALIVE), name="keepalive")
            silent = 0.0
        self._timer = self._loop.call_later(self._seconds - silent, self._look)
