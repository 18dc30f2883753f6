"""The body of a request as the JSON text that it is: read, counted, inflated."""

import asyncio

from django.conf import settings

from gateway.refusals import UnsupportedMediaType
from gateway.request import Request
from gateway.wire.encoding import IDENTITY, inflated

JSON_TYPES = {"", "application/json", "text/plain"}


async def json_body(request: Request) -> bytes:
    """The body, inflated where it came compressed; BodyTooLarge, UnsupportedMediaType, UnknownEncoding, ..."""
    body = await request.client.read_body(settings.MAX_BODY_BYTES)
    content_type = request.header(b"content-type").partition(";")[0].strip().lower()
    if content_type not in JSON_TYPES:
        raise UnsupportedMediaType(f"Content-Type {content_type!r} is not supported: use application/json.")
    encoding = request.header(b"content-encoding")
    return body if encoding.lower() in IDENTITY else await _inflated(body, encoding)


async def _inflated(body: bytes, encoding: str) -> bytes:
    whole = bytearray()
    for piece in inflated(body, encoding, settings.MAX_BODY_BYTES):
        if whole:
            await asyncio.sleep(0)
        whole += piece
    return bytes(whole)
