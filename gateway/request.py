"""A request to /v1 as views get it, and what they may answer with."""

import time
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from django.http import HttpResponse

from gateway.client import Client
from gateway.runtime import Runtime
from gateway.upstream.exchange import QUERY
from gateway.wire.invalid import InvalidRequest

Scope = dict[str, Any]


class Request:
    """A request to /v1. The body is read by the view, once it knows who asks."""

    __slots__ = ("_headers", "_scope", "arrived", "client", "method", "path", "request_id", "runtime")

    def __init__(self, scope: Scope, client: Client, runtime: Runtime, request_id: UUID) -> None:
        self.arrived = time.monotonic()
        self.client = client
        self.runtime = runtime
        self.request_id = request_id
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self._scope = scope
        pairs = scope["headers"]
        self._headers: dict[bytes, bytes] = dict(pairs)
        if len(self._headers) < len(pairs):
            self._headers = _joined(pairs)

    def header(self, name: bytes) -> str:
        """The value of a header, by its name in lower case; values of one name joined by commas, "" where there is
        none.
        """
        return self._headers.get(name, b"").decode("latin-1")

    @property
    def address(self) -> str:
        """Of whoever is at the other end of the connection; empty on a unix socket."""
        peer = self._scope["client"]
        return str(peer[0]) if peer else ""

    @property
    def query(self) -> bytes:
        """The query string as it came; InvalidRequest where it could not go upstream so."""
        query = bytes(self._scope.get("query_string", b""))
        if not QUERY.fullmatch(query):
            raise InvalidRequest("The query string of your request is too long, or holds what no URL may.")
        return query


def _joined(pairs: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    headers: dict[bytes, bytes] = {}
    for name, value in pairs:
        headers[name] = headers[name] + b"," + value if name in headers else value
    return headers


class RelayedAnswer:
    """An answer that sends itself: the relay knows when, and settles the record before the last of it."""

    __slots__ = ("run",)

    def __init__(self, run: Callable[[Client], Awaitable[None]]) -> None:
        self.run = run


Response = HttpResponse | RelayedAnswer
