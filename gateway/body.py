"""The body of a request as the JSON text that it is: read, counted, inflated."""

import asyncio

from gateway.refusals import UnsupportedMediaType
from gateway.request import Request
from gateway.wire.encoding import IDENTITY, inflated

JSON_TYPES = {"", "application/json", "text/plain"}


async def json_body(request: Request) -> bytes:
    """The body, inflated where it came compressed; BodyTooLarge, UnsupportedMediaType, UnknownEncoding, ..."""
    body = await request.client.read_body(request.runtime.max_body_bytes)
    content_type = request.header(b"content-type").partition(";")[0].strip().lower()
    if content_type not in JSON_TYPES:
        raise UnsupportedMediaType(f"Content-Type {content_type!r} is not supported: use application/json.")
    encoding = request.header(b"content-encoding")
    return body if encoding.lower() in IDENTITY else await _inflated(body, encoding, request.runtime.max_body_bytes)


async def _inflated(body: bytes, encoding: str, most: int) -> bytes:
    whole = bytearray()
    for piece in inflated(body, encoding, most):
        if whole:
            await asyncio.sleep(0)
        whole += piece
    return bytes(whole)
