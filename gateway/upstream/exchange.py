"""One request to an upstream and the start of its answer. The transport's exceptions become ours here alone.

Nothing of httpx but its exceptions is on this way: a request and a response of it cost more than all the rest of one.
"""

import asyncio
import io
import logging
import re
from collections.abc import Callable
from functools import lru_cache

import httpx
import msgspec

from gateway.catalog import RouteFacts, UpstreamFacts
from gateway.sealing import CannotUnseal
from gateway.upstream.answer import Answer
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
from gateway.upstream.transport import UpstreamTransport
from gateway.wire.cache_key import CacheKey

logger = logging.getLogger(__name__)

USER_AGENT = b"User-Agent: tollgate/0.1"
MOST_ERROR_BYTES = 256 * 1024
ERROR_SECONDS = 10.0  # for the text of a failure whose status is known
BETA = re.compile(rb"[A-Za-z0-9_=,;. -]{1,500}")
QUERY = re.compile(rb"[!$-;=?-~]{0,4000}")  # without "#<>, which no query may hold and httpx would write otherwise


class Call(msgspec.Struct, frozen=True):
    """What goes upstream: built from nothing but these (protocol.md 5). `beta` and `query` are the client's own.

    `is_model_ours`: the catalog names the model in full, so that an upstream without it is set up wrongly. `cache_key`:
    what to restore in the answer, where it was set in the body.
    """

    path: str
    body: bytes
    request_id: bytes  # as it stands in headers
    stream: bool
    beta: bytes = b""
    query: bytes = b""
    method: str = "POST"
    is_model_ours: bool = False
    cache_key: CacheKey | None = None


class Exchange:
    """An answer that has begun with a 2xx status. Whoever holds it must `close` it. `headers`: names in lower case."""

    def __init__(self, answer: Answer, upstream: UpstreamFacts, cache_key: CacheKey | None = None) -> None:
        self._answer = answer
        self._cache_key = cache_key
        self.headers = answer.headers
        self.censor = Censor(upstream)
        self.is_stream = answer.headers.get("content-type", "").lower().startswith("text/event-stream")

    async def chunk(self) -> bytes:
        """The next piece of the body as it comes, empty at its end; Broken or TimedOut where it does not end well."""
        try:
            return await self._answer.read()
        except httpx.HTTPError as error:
            raise _translated(error) from error

    async def read(self, most: int) -> bytes:
        """The whole body; TooLarge where it is larger than `most` bytes."""
        body = io.BytesIO()  # not a list: tiny pieces would take twenty times their size there
        while chunk := await self.chunk():
            body.write(chunk)
            if body.tell() > most:
                raise TooLarge(f"an answer of more than {most} bytes", body.tell())
        return body.getvalue()

    def restored(self, document: bytes) -> bytes:
        """The answer, or some of its events, as the tenant is to see it."""
        return self._cache_key.restored(document) if self._cache_key else document

    def close(self) -> None:
        """Gives the connection back, or closes it where the answer is not complete: the upstream then stops."""
        self._answer.close()


def _nobody() -> None:
    """Nobody asks whether it was sent."""


async def start(
    transport: UpstreamTransport, route: RouteFacts, call: Call, sent: Callable[[], None] = _nobody
) -> Exchange:
    """Sends `call`; returns when a good answer has begun, else raises an UpstreamFailed. `sent` is called before the
    first byte of it leaves.
    """
    upstream = route.upstream
    lines = _lines(upstream, call)
    try:
        answer = await transport.ask(upstream.origin, lines, call.body, sent)
    except httpx.HTTPError as error:
        logger.warning("upstream %s gave no answer: %s %s", upstream.name, type(error).__name__, error)
        raise _translated(error) from error
    exchange = Exchange(answer, upstream, call.cache_key)
    if answer.status == 200 and not _is_encoded(answer.headers):
        return exchange
    try:
        raise _of_the_request(await _failure(upstream, answer.status, exchange), call)
    finally:
        exchange.close()


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


def _is_encoded(headers: dict[str, str]) -> bool:
    """Compressed, in whichever layer: the meter could not read it, and nothing here unpacks what an upstream packed."""
    content, transfer = headers.get("content-encoding", "identity"), headers.get("transfer-encoding", "chunked")
    return (content.lower(), transfer.lower()) != ("identity", "chunked")


def _lines(upstream: UpstreamFacts, call: Call) -> list[bytes]:
    """Request line and headers; Unusable where the upstream's key cannot be opened."""
    try:
        opening = authorization(upstream.id, upstream.sealed_key)
    except CannotUnseal as error:
        logger.error("upstream %s cannot be used: %s", upstream.name, error)
        raise Unusable(str(error)) from error
    host, base = _place_of(upstream.base_url)
    query = b"?" + call.query if call.query and QUERY.fullmatch(call.query) else b""
    lines = [
        b"%b %b%b%b HTTP/1.1" % (call.method.encode(), base, call.path.encode(), query),
        b"Host: " + host,
        *([b"Content-Type: application/json"] if call.body else ()),
        b"Accept: text/event-stream" if call.stream else b"Accept: application/json",
        b"Accept-Encoding: identity",
        USER_AGENT,
        b"X-Client-Request-Id: " + call.request_id,
    ]
    if call.method != "GET":
        lines.append(b"Content-Length: %d" % len(call.body))
    if opening is not None:
        lines.append(b"Authorization: " + opening)
    if call.beta and BETA.fullmatch(call.beta):
        lines.append(b"OpenAI-Beta: " + call.beta)
    return lines


@lru_cache(maxsize=1024)
def _place_of(base_url: str) -> tuple[bytes, bytes]:
    """Host header and path of an upstream's base URL."""
    url = httpx.URL(base_url)
    return url.netloc, url.raw_path.rstrip(b"/")


def _translated(error: httpx.HTTPError) -> UpstreamFailed:
    if isinstance(error, httpx.PoolTimeout):
        return Busy(str(error))
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.LocalProtocolError):
        return Unreachable(str(error))
    if isinstance(error, httpx.TimeoutException):
        return TimedOut(str(error))
    return Broken(str(error))
