"""The lean ASGI handler of /v1: Django's URLconf, request and response, and nothing that costs a thread.

Against Django's own handler it leaves out middleware, ThreadSensitiveContext, request signals, the spooled body and the
thread in which responses are closed (docs/decisions/0003-lean-data-plane.md). Views are called with a `Request` and
answer with an HttpResponse or a `RelayedAnswer`; whatever they raise becomes OpenAI's envelope.
"""

import asyncio
import io
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import UUID

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse, HttpResponseBase
from django.urls import Resolver404, get_resolver

from gateway.errors import error_response
from gateway.metrics import ANSWERS
from gateway.refusals import BodyTooLarge, ClientLeft, Stopping, UnknownPath
from gateway.runtime import Runtime
from gateway.upstream.client import Headers
from gateway.upstream.exchange import QUERY
from gateway.wire.request import InvalidRequest

logger = logging.getLogger(__name__)

URLCONF = "gateway.v1_urls"
# A body over the bound is read on and dropped so far, so that the client gets its answer; then the connection goes.
MOST_DROPPED_BYTES = 512 * 1024 * 1024
METHODS = {"GET", "POST", "DELETE"}  # that are counted by their name

Scope = dict[str, Any]
Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Client:
    """The connection that a request came on and its answer goes to."""

    def __init__(self, receive: Receive, send: Send, request_id: UUID) -> None:
        self._receive = receive
        self._send = send
        self._request_id = str(request_id).encode()
        self._watcher: asyncio.Task[None] | None = None
        self._act: Callable[[], None] = lambda: None
        self.route = ("", "")  # and the method, as answers are counted: never what a client may make up
        self.has_started = False
        self.is_gone = False

    async def read_body(self, most: int) -> bytes:
        """The whole body. BodyTooLarge, once it has been read on and dropped; ClientLeft where it never ends."""
        body, size = bytearray(), 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.is_gone = True
                raise ClientLeft
            piece = message.get("body", b"")
            size += len(piece)
            if size <= most:
                body += piece
            if not message.get("more_body", False) or size > MOST_DROPPED_BYTES:
                break
        if size > most:
            raise BodyTooLarge(most)
        return bytes(body)

    def when_gone(self, act: Callable[[], None]) -> None:
        """Calls `act` once the client has left; only who awaits `receive` is told so by the server."""
        self._act = act
        if self.is_gone:
            act()
        elif self._watcher is None:
            self._watcher = asyncio.create_task(self._watch(), name="client watcher")

    async def start(self, status: int, headers: Headers) -> None:
        self.has_started = True
        ANSWERS.labels(*self.route, status).inc()
        headers = [*headers, (b"x-request-id", self._request_id), (b"cache-control", b"no-store")]
        await self._put({"type": "http.response.start", "status": status, "headers": headers})

    async def send(self, data: bytes) -> None:
        if not self.is_gone:
            await self._put({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        if not self.is_gone:
            await self._put({"type": "http.response.body", "body": data})

    def release(self) -> None:
        """The answer is over: nobody need know any more whether the client leaves."""
        self._act = lambda: None
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

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._left()

    def _left(self) -> None:
        self.is_gone = True
        self._act()


class Request(ASGIRequest):
    """A request to /v1. The body is read by the view, once it knows who asks."""

    def __init__(self, scope: Scope, client: Client, runtime: Runtime, request_id: UUID) -> None:
        super().__init__(scope, io.BytesIO())
        self.arrived = time.monotonic()
        self.client = client
        self.runtime = runtime
        self.request_id = request_id

    @property
    def query(self) -> bytes:
        """The query string as it came; InvalidRequest where it could not go upstream so."""
        query = bytes(self.scope.get("query_string", b""))
        if not QUERY.fullmatch(query):
            raise InvalidRequest("The query string of your request is too long, or holds what no URL may.")
        return query


class RelayedAnswer(HttpResponseBase):
    """A response that sends itself: the relay knows when, and settles the record before the last of it."""

    streaming = True

    def __init__(self, run: Callable[[Client], Awaitable[None]]) -> None:
        super().__init__()
        self.run = run


class DataPlane:
    """The ASGI application of /v1."""

    def __init__(self) -> None:
        self.runtime: Runtime | None = None
        self._resolver = get_resolver(URLCONF)

    async def start(self) -> None:
        self.runtime = await Runtime().start()

    async def close(self) -> None:
        if self.runtime is not None:
            await self.runtime.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.runtime is not None, "the server's lifespan must be on: uvicorn --lifespan on"
        request_id = self.runtime.request_ids.new()
        client = Client(receive, send, request_id)
        try:
            await self._answer(scope, client, request_id)
        except ClientLeft:
            pass
        except asyncio.CancelledError:  # the server stops and will not wait; what has begun was ended by the relay
            if not client.has_started:
                await self._refuse(client, Stopping(), request_id)
        except Exception as error:
            await self._refuse(client, error, request_id)
        finally:
            self.runtime.meter.release(request_id)
            client.release()

    async def _answer(self, scope: Scope, client: Client, request_id: UUID) -> None:
        assert self.runtime is not None
        request = Request(scope, client, self.runtime, request_id)
        try:
            match = self._resolver.resolve(request.path_info)
        except Resolver404:
            raise UnknownPath(request.method or "", request.path_info) from None
        request.resolver_match = match
        client.route = (match.route, request.method if request.method in METHODS else "other")
        response = await match.func(request, *match.args, **match.kwargs)
        if isinstance(response, RelayedAnswer):
            await response.run(client)
        else:
            await _send(response, client)

    async def _refuse(self, client: Client, error: Exception, request_id: UUID) -> None:
        response = error_response(error, request_id)
        if client.has_started:
            logger.error("request %s failed after its answer had begun", request_id)
        elif not client.is_gone:
            await _send(response, client)


async def _send(response: HttpResponse, client: Client) -> None:
    headers = [(name.lower().encode("ascii"), value.encode("latin-1")) for name, value in response.items()]
    headers.append((b"content-length", b"%d" % len(response.content)))
    await client.start(response.status_code, headers)
    await client.end(response.content)
