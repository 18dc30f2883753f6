"""The lean ASGI handler of /v1: Django's URLconf and responses, and nothing that costs a thread.

Against Django's own handler it leaves out middleware, ThreadSensitiveContext, request signals, the spooled body, the
thread in which responses are closed, and all of a request that nobody reads here
(docs/decisions/0003-lean-data-plane.md). Views are called with a `Request` and answer with an HttpResponse or a
`RelayedAnswer`; whatever they raise becomes OpenAI's envelope.
"""

import asyncio
import gc
import logging
from uuid import UUID

from django.http import HttpResponse
from django.urls import Resolver404, ResolverMatch, URLResolver, get_resolver

from gateway.client import Client, Receive, Send, Watch
from gateway.errors import error_response
from gateway.refusals import ClientLeft, Stopping, UnknownPath
from gateway.request import RelayedAnswer, Request, Response, Scope
from gateway.runtime import Runtime

logger = logging.getLogger(__name__)

URLCONF = "gateway.v1_urls"
MADE_BEFORE_COLLECTION = 20_000  # objects more than were let go; Python's own 700 are those of a few requests
METHODS = {"GET", "POST", "DELETE"}  # that are counted by their name


class DataPlane:
    """The ASGI application of /v1."""

    def __init__(self) -> None:
        self.runtime: Runtime | None = None
        self._watch = Watch()
        self._resolver = get_resolver(URLCONF)
        self._plain = _without_variables(self._resolver)

    async def start(self) -> None:
        self.runtime = await Runtime().start()
        # What is there by now stays; what a request makes is let go by its references, and cycles are rare.
        gc.collect()
        gc.freeze()
        gc.set_threshold(MADE_BEFORE_COLLECTION)

    async def close(self) -> None:
        if self.runtime is not None:
            await self.runtime.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.runtime is not None, "the server's lifespan must be on: uvicorn --lifespan on"
        request_id = self.runtime.request_ids.new()
        client = Client(receive, send, request_id, self._watch)
        try:
            await self._answer(scope, client, request_id)
        except ClientLeft:
            pass
        except asyncio.CancelledError:  # the server stops and will not wait; what has begun was ended by the relay
            if not client.has_started:
                await self._refuse(client, Stopping(), request_id)
        except Exception as error:
            try:
                await self._refuse(client, error, request_id)
            finally:
                _let_go(error)
        finally:
            self.runtime.meter.release(request_id)
            client.release()

    async def _answer(self, scope: Scope, client: Client, request_id: UUID) -> None:
        assert self.runtime is not None
        request = Request(scope, client, self.runtime, request_id)
        match = self._plain.get(request.path) or self._resolved(request)
        client.route = (match.route, request.method if request.method in METHODS else "other")
        response: Response = await match.func(request, *match.args, **match.kwargs)
        if not isinstance(response, RelayedAnswer):
            await _send(response, client)
            return
        running = response.run(client)
        del response  # what goes upstream is with it: a body of megabytes need not lie here until a stream has ended
        await running

    def _resolved(self, request: Request) -> ResolverMatch:
        try:
            return self._resolver.resolve(request.path)
        except Resolver404:
            raise UnknownPath(request.method, request.path) from None

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


def _let_go(error: BaseException | None) -> None:
    """Who keeps an error keeps all that it was raised through, and so the request's body; and what it was raised
    through, futures and frames, often keeps the error: such a circle would lie there until the collector comes by.
    """
    while error is not None and error.__traceback__ is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def _without_variables(resolver: URLResolver) -> dict[str, ResolverMatch]:
    """The routes that are one path each, which need no search."""
    routes = (f"/{pattern.pattern}" for pattern in resolver.url_patterns if not pattern.pattern.converters)
    return {route: resolver.resolve(route) for route in routes}
