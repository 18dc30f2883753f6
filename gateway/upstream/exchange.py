"""One request to an upstream and the start of its answer. httpx's exceptions become ours here and nowhere else."""

import asyncio
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

import httpx

from gateway.catalog import RouteFacts, UpstreamFacts
from gateway.sealing import CannotUnseal
from gateway.upstream.censor import Censor, alarm_staff
from gateway.upstream.credentials import authorization
from gateway.upstream.failures import (
    Broken,
    Busy,
    Failing,
    Gone,
    Misconfigured,
    NotFound,
    Rejected,
    TimedOut,
    TooLarge,
    Unreachable,
    Unreadable,
    Unusable,
    UpstreamFailed,
    failure_of,
)
from gateway.wire.cache_key import CacheKey

logger = logging.getLogger(__name__)

USER_AGENT = b"tollgate/0.1"
MOST_ERROR_BYTES = 256 * 1024
ERROR_SECONDS = 10.0  # for the text of a failure whose status is known
BETA = re.compile(rb"[A-Za-z0-9_=,;. -]{1,500}")
QUERY = re.compile(rb"[!$-;=?-~]{0,4000}")  # without "#<>, which no query may hold and httpx would write otherwise


@dataclass(frozen=True, slots=True)
class Call:
    """What goes upstream: built from nothing but these (protocol.md 5). `beta` and `query` are the client's own.

    `is_model_ours`: the catalog names the model in full, so that an upstream without it is set up wrongly. `cache_key`:
    what to restore in the answer, where it was set in the body.
    """

    path: str
    body: bytes
    request_id: UUID
    stream: bool
    beta: bytes = b""
    query: bytes = b""
    method: str = "POST"
    is_model_ours: bool = False
    cache_key: CacheKey | None = None


class Exchange:
    """An answer that has begun with a 2xx status. Whoever holds it must `close` it."""

    def __init__(self, response: httpx.Response, upstream: UpstreamFacts, cache_key: CacheKey | None = None) -> None:
        assert isinstance(response.stream, httpx.AsyncByteStream)
        self._response = response
        self._pieces = aiter(response.stream)
        self._cache_key = cache_key
        self.headers = response.headers
        self.censor = Censor(upstream)
        self.is_stream = response.headers.get("content-type", "").lower().startswith("text/event-stream")

    async def chunk(self) -> bytes:
        """The next piece of the body as it comes, empty at its end; Broken or TimedOut where it does not end well."""
        try:
            return await anext(self._pieces, b"")
        except httpx.HTTPError as error:
            raise _translated(error) from error

    async def read(self, most: int) -> bytes:
        """The whole body; TooLarge where it is larger than `most` bytes."""
        body = bytearray()
        while chunk := await self.chunk():
            body += chunk
            if len(body) > most:
                raise TooLarge(f"an answer of more than {most} bytes", len(body))
        return bytes(body)

    def restored(self, document: bytes) -> bytes:
        """The answer, or some of its events, as the tenant is to see it."""
        return self._cache_key.restored(document) if self._cache_key else document

    async def close(self) -> None:
        """Gives the connection back, or closes it where the answer is not complete: the upstream then stops."""
        await self._response.aclose()


def _nobody() -> None:
    """Nobody asks whether it was sent."""


async def start(
    transport: httpx.AsyncBaseTransport, route: RouteFacts, call: Call, sent: Callable[[], None] = _nobody
) -> Exchange:
    """Sends `call`; returns when a good answer has begun, else raises an UpstreamFailed. `sent` is called before the
    first byte of it leaves; at once where the transport does not say when.
    """
    request = _request(route.upstream, call)
    if getattr(transport, "says_when_sent", False):
        request.extensions["sent"] = sent
    else:
        sent()
    try:
        response = await transport.handle_async_request(request)
    except httpx.HTTPError as error:
        logger.warning("upstream %s gave no answer: %s %s", route.upstream.name, type(error).__name__, error)
        raise _translated(error) from error
    exchange = Exchange(response, route.upstream, call.cache_key)
    if response.status_code == 200 and not _is_encoded(response.headers):
        return exchange
    try:
        raise _of_the_request(await _failure(route.upstream, response.status_code, exchange), call)
    finally:
        await exchange.close()


async def _failure(upstream: UpstreamFacts, status: int, exchange: Exchange) -> UpstreamFailed:
    try:
        async with asyncio.timeout(ERROR_SECONDS):
            body = await exchange.read(MOST_ERROR_BYTES)
    except (UpstreamFailed, TimeoutError):
        body = b""
    if status == 200:
        return Unreadable("an encoded answer, though identity was asked for")
    failure = failure_of(status, exchange.headers, body, exchange.censor.text)
    if isinstance(failure, Misconfigured):
        alarm_staff(upstream, str(failure))
    else:
        logger.warning("upstream %s answered with status %d", upstream.name, status)
    return failure


def _of_the_request(failure: UpstreamFailed, call: Call) -> UpstreamFailed:
    """What a 404 means for this request: a model that we name ourselves is no mistake of the tenant's."""
    if isinstance(failure, NotFound) and failure.missing and failure.missing.encode() in call.body:
        return Gone(failure.missing, is_item=failure.is_item)
    if isinstance(failure, Rejected) and failure.is_not_found and call.is_model_ours:
        return Failing("it does not know a model that it is to serve")
    return failure


def _is_encoded(headers: httpx.Headers) -> bool:
    """Compressed, in whichever layer: the meter could not read it, and nothing here unpacks what an upstream packed."""
    content: str = headers.get("content-encoding", "identity")
    transfer: str = headers.get("transfer-encoding", "chunked")
    return (content.lower(), transfer.lower()) != ("identity", "chunked")


def _request(upstream: UpstreamFacts, call: Call) -> httpx.Request:
    url = httpx.URL(upstream.base_url + call.path)
    if call.query and QUERY.fullmatch(call.query):
        url = url.copy_with(query=call.query)
    is_json = [(b"Content-Type", b"application/json")] if call.body else []
    length = [] if call.method == "GET" else [(b"Content-Length", b"%d" % len(call.body))]
    headers = [
        (b"Host", url.netloc),
        *is_json,
        (b"Accept", b"text/event-stream" if call.stream else b"application/json"),
        (b"Accept-Encoding", b"identity"),
        (b"User-Agent", USER_AGENT),
        (b"X-Client-Request-Id", str(call.request_id).encode()),
        *length,
    ]
    try:
        opening = authorization(upstream.id, upstream.sealed_key)
    except CannotUnseal as error:
        logger.error("upstream %s cannot be used: %s", upstream.name, error)
        raise Unusable(str(error)) from error
    if opening is not None:
        headers.append((b"Authorization", opening))
    if BETA.fullmatch(call.beta):
        headers.append((b"OpenAI-Beta", call.beta))
    return httpx.Request(call.method, url, headers=headers, content=call.body, extensions={"origin": upstream.origin})


def _translated(error: httpx.HTTPError) -> UpstreamFailed:
    if isinstance(error, httpx.PoolTimeout):
        return Busy(str(error))
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.LocalProtocolError):
        return Unreachable(str(error))
    if isinstance(error, httpx.TimeoutException):
        return TimedOut(str(error))
    return Broken(str(error))
