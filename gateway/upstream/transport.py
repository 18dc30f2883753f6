"""The httpx transport that the relay uses: a pool of thin connections (docs/decisions/0004-own-transport.md).

Any other httpx transport may take its place. What is particular to this one: the address is checked where it is
connected to (addresses.py), there is no redirect, proxy, cookie or decompression, and a request is never sent twice.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator
from typing import cast

import httpx

from gateway.upstream.addresses import ForbiddenAddress, Origin, origin_of, resolve
from gateway.upstream.connection import Connection

IDLE_SECONDS = 30.0  # less than the upstreams' own, so that a connection is rarely closed under a request


class UpstreamTransport(httpx.AsyncBaseTransport):
    """Connections are kept per origin; the last one used is used first."""

    def __init__(self, *, connect_seconds: float, read_seconds: float, most_connections: int) -> None:
        self._connect_seconds = connect_seconds
        self._read_seconds = read_seconds
        self._most_connections = most_connections
        self._idle: dict[Origin, deque[Connection]] = {}
        self._open: set[Connection] = set()
        self._opening = 0
        self._tls = ssl.create_default_context()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """`extensions["origin"]` is where to connect; without it the URL's own, which must be public."""
        origin = cast("Origin | None", request.extensions.get("origin"))
        if origin is None:
            origin = origin_of(str(request.url.copy_with(query=None)), allow_private=False)
        connection = self._idle_connection(origin) or await self._connect(origin)
        try:
            await connection.ask(_serialized(request), self._read_seconds)
        except BaseException:
            connection.abort()
            raise
        body = AnswerBody(connection, self, origin, self._read_seconds)
        return httpx.Response(connection.status, headers=connection.headers, stream=body, request=request)

    async def aclose(self) -> None:
        for connection in list(self._open):
            connection.abort()

    def release(self, connection: Connection, origin: Origin) -> None:
        """Takes a connection back; one whose answer is not complete is closed."""
        if not connection.is_reusable:
            connection.abort()
            return
        connection.idle_since = asyncio.get_running_loop().time()
        self._idle.setdefault(origin, deque()).append(connection)

    def _idle_connection(self, origin: Origin) -> Connection | None:
        idle = self._idle.get(origin)
        oldest = asyncio.get_running_loop().time() - IDLE_SECONDS
        while idle:
            connection = idle.pop()
            if not connection.is_closed and connection.idle_since >= oldest:
                return connection
            connection.abort()
        return None

    async def _connect(self, origin: Origin) -> Connection:
        if len(self._open) + self._opening >= self._most_connections:
            raise httpx.PoolTimeout(f"{self._most_connections} connections are open.")
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

    async def _opened(self, origin: Origin) -> Connection:
        address = await resolve(origin)
        tls = self._tls if origin.scheme == "https" else None
        _, connection = await asyncio.get_running_loop().create_connection(
            Connection, address, origin.port, ssl=tls, server_hostname=origin.host if tls else None
        )
        self._open.add(connection)
        connection.on_close = self._open.discard
        return connection


class AnswerBody(httpx.AsyncByteStream):
    """The body as it comes, in pieces of whatever size the network gives."""

    def __init__(self, connection: Connection, transport: UpstreamTransport, origin: Origin, seconds: float) -> None:
        self._connection = connection
        self._transport = transport
        self._origin = origin
        self._read_seconds = seconds
        self._released = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while data := await self._connection.read(self._read_seconds):
            yield data

    async def aclose(self) -> None:
        if not self._released:
            self._released = True
            self._transport.release(self._connection, self._origin)


def _serialized(request: httpx.Request) -> bytes:
    head = [b"%b %b HTTP/1.1" % (request.method.encode(), request.url.raw_path)]
    head.extend(b"%b: %b" % (name, value) for name, value in request.headers.raw)
    return b"\r\n".join(head) + b"\r\n\r\n" + request.content
