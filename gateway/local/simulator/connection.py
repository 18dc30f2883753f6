"""One client connection: bytes in, requests out of them, and a close that is clean, sudden or never."""

import asyncio
import fcntl
import socket
import struct
import termios
from collections import deque
from collections.abc import Awaitable, Callable
from typing import cast
from urllib.parse import unquote

import httptools

from gateway.local.simulator.request import Request, parse

RESET_ON_CLOSE = struct.pack("ii", 1, 0)
LOOK_AGAIN = 0.001  # seconds; nothing tells when the last byte is acknowledged

Answer = Callable[["Connection", Request], Awaitable[bool]]


class Connection(asyncio.Protocol):
    """Answers the requests of a connection one after the other; `answer` returns whether the connection may go on."""

    def __init__(self, answer: Answer, connections: "set[Connection]") -> None:
        self._answer = answer
        self._connections = connections
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[Request] = deque()
        self._writable = asyncio.Event()
        self._writable.set()
        self.task: asyncio.Task[None] | None = None
        self.lost = False

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._connections.discard(self)
        if self.task:
            self.task.cancel()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            self.transport.close()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # What the parser calls

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers: list[tuple[str, str]] = []
        self._body: list[bytes] = []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        if ("expect", "100-continue") in self._headers:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        path, _, query = self._url.decode("latin-1").partition("?")
        method = self._parser.get_method().decode()
        body = b"".join(self._body)
        self._waiting.append(Request(method, unquote(path), query, self._headers, body, parse(body)))
        if self.task is None:
            self.task = asyncio.get_running_loop().create_task(self._answer_all())

    # What answers use

    async def write(self, data: bytes) -> None:
        """Hand over bytes; waits while the client reads too slowly."""
        self.transport.write(data)
        await self.writable()

    async def writable(self) -> None:
        if not self._writable.is_set():
            await self._writable.wait()

    async def flush(self) -> None:
        """Wait until the kernel has all that was written."""
        self.transport.set_write_buffer_limits(0)
        await self.writable()

    async def reset(self) -> None:
        """End with a TCP RST, not a FIN, once the client's kernel has it all: a reset drops what is on its way."""
        connection = self.transport.get_extra_info("socket")
        while _unacknowledged(connection.fileno()):  # noqa: ASYNC110
            await asyncio.sleep(LOOK_AGAIN)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self.transport.abort()

    async def _answer_all(self) -> None:
        goes_on = True
        try:
            while goes_on and self._waiting:
                goes_on = False
                goes_on = await self._answer(self, self._waiting.popleft())
            self.task = None
        finally:
            if not goes_on:
                self.transport.close()


def _unacknowledged(descriptor: int) -> int:
    """Bytes the kernel still has to deliver (Linux: SIOCOUTQ, which is TIOCOUTQ, tcp(7))."""
    return int(struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))[0])
