"""The way to the upstreams: a pool of thin connections (docs/decisions/0004-own-transport.md).

The relay's requests go by `ask`; for all others it is a transport of httpx. The address is checked where it is
connected to (addresses.py), there is no redirect, proxy, cookie or decompression, and a request is never sent twice.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import cast

import httpx

from gateway.addresses import ForbiddenAddress, Origin, origin_of, resolve
from gateway.upstream.answer import Answer
from gateway.upstream.connection import Connection

IDLE_SECONDS = 30.0  # less than the upstreams' own, so that a connection is rarely closed under a request


class UpstreamTransport(httpx.AsyncBaseTransport):
    """Connections are kept per origin; the last one used is used first."""

    def __init__(
        self,
        *,
        connect_seconds: float,
        read_seconds: float,
        most_connections: int,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`tls`: whose certificates are trusted, by default those of the system's authorities."""
        self._connect_seconds = connect_seconds
        self._read_seconds = read_seconds
        self._most_connections = most_connections
        self._idle: dict[Origin, deque[Connection]] = {}  # the one used last stands last
        self._open: set[Connection] = set()
        self._opening = 0
        self._tls = tls or ssl.create_default_context()

    async def ask(self, origin: Origin, lines: list[bytes], body: bytes, sent: Callable[[], None]) -> Answer:
        """Sends a request of these lines and that body; returns when the answer's headers are there.

        `sent` is called when there is a connection, before the first byte of the request leaves. Raises httpx's
        exceptions.
        """
        head = _joined(lines)
        connection = self._idle_connection(origin) or await self._connect(origin)
        try:
            sent()
            await connection.ask(head + body, self._read_seconds)
        except BaseException:
            connection.abort()
            raise
        return Answer(connection, self._read_seconds, partial(self._release, origin))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """`extensions["origin"]` is where to connect; without it the URL's own, which must be public."""
        origin = cast("Origin | None", request.extensions.get("origin")) or _public_origin(request)
        lines = [b"%b %b HTTP/1.1" % (request.method.encode(), request.url.raw_path)]
        lines.extend(b"%b: %b" % (name, value) for name, value in request.headers.raw)
        answer = await self.ask(origin, lines, request.content, _nobody)
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers.items()]
        return httpx.Response(answer.status, headers=headers, stream=AnswerBody(answer), request=request)

    async def aclose(self) -> None:
        for connection in list(self._open):
            connection.abort()

    def _release(self, origin: Origin, connection: Connection) -> None:
        """Takes a connection back; one whose answer is not complete is closed, and so are those idle for long."""
        if not connection.is_reusable:
            connection.abort()
            return
        connection.idle_since = asyncio.get_running_loop().time()
        idle = self._idle.setdefault(origin, deque())
        idle.append(connection)
        while idle and _is_stale(idle[0]):
            idle.popleft().abort()

    def _idle_connection(self, origin: Origin) -> Connection | None:
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if not _is_stale(connection):
                return connection
            connection.abort()
        return None

    async def _connect(self, origin: Origin) -> Connection:
        self._make_room()
        self._opening += 1
        try:
            async with asyncio.timeout(self._connect_seconds):
                return await self._opened(origin)
        except TimeoutError:
            raise httpx.ConnectTimeout(f"No connection within {self._connect_seconds:g} s.") from None
        except (OSError, ForbiddenAddress) as error:
            raise httpx.ConnectError(str(error)) from error
        finally:
            self._opening -= 1

    def _make_room(self) -> None:
        """Closes what has been idle longest, whichever origin it leads to; PoolTimeout where nothing is idle."""
        while len(self._open) + self._opening >= self._most_connections:
            idle = min(filter(None, self._idle.values()), key=lambda idle: idle[0].idle_since, default=None)
            if idle is None:
                raise httpx.PoolTimeout(f"{self._most_connections} connections are in use.")
            connection = idle.popleft()
            connection.abort()
            self._open.discard(connection)

    async def _opened(self, origin: Origin) -> Connection:
        """A connection to the first of the origin's addresses that takes one."""
        tls = self._tls if origin.scheme == "https" else None
        failures: list[OSError] = []
        for address in await resolve(origin):
            try:
                _, connection = await asyncio.get_running_loop().create_connection(
                    Connection, address, origin.port, ssl=tls, server_hostname=origin.host if tls else None
                )
            except OSError as error:
                failures.append(error)
                continue
            if not connection.is_closed:
                self._open.add(connection)
                connection.on_close = self._open.discard
            return connection
        raise failures[-1]


class AnswerBody(httpx.AsyncByteStream):
    """An answer's body for httpx."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while data := await self._answer.read():
            yield data

    async def aclose(self) -> None:
        self._answer.close()


def _nobody() -> None:
    """Nobody asks whether it was sent."""


def _is_stale(connection: Connection) -> bool:
    return connection.is_closed or connection.idle_since < asyncio.get_running_loop().time() - IDLE_SECONDS


def _public_origin(request: httpx.Request) -> Origin:
    try:
        return origin_of(str(request.url.copy_with(query=None, fragment=None)), allow_private=False)
    except ForbiddenAddress as error:
        raise httpx.ConnectError(str(error)) from error


def _joined(lines: list[bytes]) -> bytes:
    head = b"\r\n".join(lines)
    if head.count(b"\n") >= len(lines) or head.count(b"\r") >= len(lines) or b"\0" in head:
        raise httpx.LocalProtocolError("A line break in a header: the request would become two.")
    return head + b"\r\n\r\n"
