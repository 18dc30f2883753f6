"""One HTTP/1.1 connection to an upstream: asyncio.Protocol and httptools, one exchange at a time."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import httptools
import httpx

PAUSE_AT_BYTES = 256 * 1024
MOST_HEADER_BYTES = 64 * 1024
TOO_LARGE = "The answer's headers are too large."


class Connection(asyncio.Protocol):
    """Sends a request and hands out its answer as it comes. Errors are httpx's own."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._error: httpx.HTTPError | None = None
        self._closed = False
        self.on_close: Callable[[Connection], None] = lambda _: None
        self.idle_since = 0.0
        self._seconds = 0.0
        self._due = 0.0  # the loop's time at which who waits has waited for that long
        self._timer: asyncio.TimerHandle | None = None
        self._reset()
        self._complete = True  # nothing was asked yet

    def _reset(self) -> None:
        self._parser: Any = httptools.HttpResponseParser(self)
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._paused = False
        self._overhead = 0  # bytes since the last that were of use
        self._headers_complete = False
        self._complete = False
        self._ends_with_connection = True
        self._kept_alive = False
        self._header_bytes = 0
        self.status = 0
        self.headers: dict[str, str] = {}  # names in lower case; values of one name joined by commas

    # What the transport calls

    async def ask(self, request: bytes, seconds: float) -> None:
        """Sends `request`; returns when the answer's headers are there (`status`, `headers`)."""
        if self._transport is None or self.is_closed:
            raise httpx.ConnectError("The connection is closed.")
        self._reset()
        self._transport.write(request)
        while not self._headers_complete:
            try:
                await self._wait(seconds)
            except httpx.HTTPError:
                if not self._headers_complete:  # else what came in one piece with the break is read before it
                    raise

    async def read(self, seconds: float) -> bytes:
        """What has come of the body since the last call, at least one byte; empty at its end."""
        while not self._chunks:
            if self._complete:
                return b""
            await self._wait(seconds)
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._buffered = 0
        if self._paused and self._transport is not None and not self._closed:
            self._paused = False
            self._transport.resume_reading()
        return data

    @property
    def is_reusable(self) -> bool:
        return self._complete and self._kept_alive and not self.is_closed and not self._chunks

    @property
    def is_closed(self) -> bool:
        return self._closed or (self._transport is not None and self._transport.is_closing())

    def abort(self) -> None:
        """Closes at once: what is under way upstream ends."""
        self._closed = True
        if self._transport is not None:
            self._transport.abort()

    async def _wait(self, seconds: float) -> None:
        if self._error is not None:
            raise _anew(self._error)
        self._waiter = self._loop.create_future()
        self._seconds, self._due = seconds, self._loop.time() + seconds
        if self._timer is None:
            self._timer = self._loop.call_later(seconds, self._look)
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _look(self) -> None:
        """The one timer of a connection: it is set anew when it is due, not with each wait."""
        self._timer = None
        if self._waiter is None:
            return
        left = self._due - self._loop.time()
        if left <= 0:
            self._fail(httpx.ReadTimeout(f"Nothing came for {self._seconds:g} s."))
        else:
            self._timer = self._loop.call_later(left, self._look)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none by inheritance

    def data_received(self, data: bytes) -> None:
        if self._complete:  # nobody asked for this: nothing that follows could be trusted
            self.abort()
            return
        self._overhead += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(httpx.RemoteProtocolError("The upstream switched protocols."))
        except httptools.HttpParserError as error:
            self._refuse(error)
        if self._overhead > MOST_HEADER_BYTES and not self._complete:
            self._fail(httpx.RemoteProtocolError(TOO_LARGE))
        self._wake()
        if self._buffered > PAUSE_AT_BYTES and not self._paused and not self._closed and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def connection_lost(self, error: Exception | None) -> None:
        is_clean = error is None and not self._closed
        self._closed = True
        if is_clean and self._headers_complete and self._ends_with_connection:
            self._complete = True
        if not self._complete:
            self._fail(httpx.ReadError("The upstream closed the connection."))
        self._wake()
        if self._timer is not None:
            self._timer.cancel()
        self.on_close(self)

    # httptools

    def on_message_begin(self) -> None:
        if self._complete:
            raise httpx.RemoteProtocolError("The upstream answered what was not asked.")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._headers_complete:  # a trailer: the answer's headers are with others by now
            return
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text
        self._header_bytes += len(name) + len(value)

    def on_headers_complete(self) -> None:
        if self._header_bytes > MOST_HEADER_BYTES:
            raise httpx.RemoteProtocolError(TOO_LARGE)
        self.status = self._parser.get_status_code()
        if self.status < 200:  # an interim answer; the real one follows
            self.headers, self._header_bytes = {}, 0
            return
        is_chunked = "chunked" in self.headers.get("transfer-encoding", "").lower()
        self._ends_with_connection = not is_chunked and "content-length" not in self.headers
        self._headers_complete = True
        self._overhead = 0
        self._kept_alive = self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        self._chunks.append(body)
        self._buffered += len(body)
        self._overhead = 0

    def on_message_complete(self) -> None:
        self._complete = self._headers_complete

    def _refuse(self, error: httptools.HttpParserError) -> None:
        """What came is no valid answer. One that was complete before it counts; the connection is of no more use."""
        if self._complete:
            self.abort()
        elif isinstance(error.__context__, httpx.RemoteProtocolError):  # raised by us above
            self._fail(error.__context__)
        else:
            self._fail(httpx.RemoteProtocolError(f"No valid HTTP answer: {type(error).__name__}."))

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, error: httpx.HTTPError) -> None:
        self._error = self._error or _anew(error)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(_anew(self._error))
        self.abort()


def _anew(error: httpx.HTTPError) -> httpx.HTTPError:
    """The same, raised nowhere yet: one that is kept here would keep all that it was raised through, so the request."""
    return type(error)(str(error))
