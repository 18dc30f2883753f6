"""The connection that a request came on and its answer goes to, over ASGI."""

import asyncio
import io
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import Any
from uuid import UUID

from prometheus_client import Counter

from gateway.metrics import ANSWERS
from gateway.refusals import BodyTooLarge, ClientLeft
from gateway.upstream.client import Headers

# A body over the bound is read on and dropped so far, so that the client gets its answer; then the connection goes.
MOST_DROPPED_BYTES = 512 * 1024 * 1024
LOOK_SECONDS = 0.1
NO_STORE = (b"cache-control", b"no-store")

Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Client:
    """Nothing sent to a client that is gone goes anywhere or fails."""

    def __init__(self, receive: Receive, send: Send, request_id: UUID, watch: "Watch") -> None:
        self._receive = receive
        self._send = send
        self.request_id = str(request_id).encode()  # as it stands in headers
        self._watch = watch
        self._watcher: asyncio.Task[None] | None = None
        self._act: Callable[[], None] = _nothing
        self.route = ("", "")  # and the method, as answers are counted: never what a client may make up
        self.has_started = False
        self.is_gone = False

    async def read_body(self, most: int) -> bytes:
        """The whole body. BodyTooLarge, once it has been read on and dropped; ClientLeft where it never ends."""
        body, size = io.BytesIO(), 0  # not a list: tiny pieces would take twenty times their size there
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.is_gone = True
                raise ClientLeft
            piece = message.get("body", b"")
            size += len(piece)
            if size <= most:
                body.write(piece)
            if not message.get("more_body", False) or size > MOST_DROPPED_BYTES:
                break
        if size > most:
            raise BodyTooLarge(most)
        return body.getvalue()

    def when_gone(self, act: Callable[[], None]) -> None:
        """Calls `act` once the client has left, within 2 * LOOK_SECONDS."""
        self._act = act
        # To ask lets the server read on: behind a large body it does not, and would not see that the client leaves.
        if self.is_gone:
            act()
        elif self._is_told():
            self._left()
        else:
            self._watch.add(self)

    def watch(self) -> None:
        """From here on it is known at once that the client leaves: only who awaits `receive` is told so by servers."""
        if self._watcher is None:
            self._watcher = asyncio.create_task(self._wait_for_end(), name="client watcher")

    def has_left(self) -> bool:
        """Whether the client is gone by now, to the moment."""
        if not self.is_gone and self._watcher is None and self._is_told():
            self._left()
        return self.is_gone

    def _is_told(self) -> bool:
        """One step into `receive`: what would have to wait there is taken back. A task for it costs ten times that."""
        step = self._receive().__await__()
        try:
            next(step)
        except StopIteration as told:
            return bool(told.value["type"] == "http.disconnect")
        step.close()
        return False

    async def start(self, status: int, headers: Headers) -> None:
        self.has_started = True
        _answers(*self.route, status).inc()
        headers = [*headers, (b"x-request-id", self.request_id), NO_STORE]
        await self._put({"type": "http.response.start", "status": status, "headers": headers})

    async def send(self, data: bytes) -> None:
        if not self.is_gone:
            await self._put({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        if not self.is_gone:
            await self._put({"type": "http.response.body", "body": data})

    def release(self) -> None:
        """The answer is over: nobody need know any more whether the client leaves."""
        self._act = _nothing
        self._watch.discard(self)
        if self._watcher is not None:
            self._watcher.cancel()

    async def _put(self, message: Message) -> None:
        try:
            await self._send(message)
        except OSError:  # a server may say so; uvicorn drops what is sent to nobody
            self._left()
        except RuntimeError as error:  # uvloop: uvicorn hung up on what followed, which was no HTTP
            if "the handler is closed" not in str(error):
                raise
            self._left()

    async def _wait_for_end(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._left()

    def _left(self) -> None:
        self.is_gone = True
        self._act()


class Watch:
    """Looks after the clients of requests that take long. Most are answered before: a task for each costs too much."""

    def __init__(self) -> None:
        self._new: set[Client] = set()
        self._before: set[Client] = set()  # the last look
        self._is_set = False

    def add(self, client: Client) -> None:
        self._new.add(client)
        if not self._is_set:
            self._is_set = True
            asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)

    def discard(self, client: Client) -> None:
        self._new.discard(client)
        self._before.discard(client)

    def _look(self) -> None:
        for client in self._before:
            client.watch()
        self._before, self._new = self._new, set()
        self._is_set = bool(self._before)
        if self._is_set:
            asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)


def _nothing() -> None:
    """Nobody wants to know."""


@lru_cache(maxsize=1024)
def _answers(route: str, method: str, status: int) -> Counter:
    """The counter of such answers; to look one up takes prometheus_client longer than to count."""
    return ANSWERS.labels(route, method, status)
