"""Many clients at once, cheaply: HTTP/1.1 over bare sockets, one connection each."""

import asyncio
import json
import time
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass
class Answer:
    """`status` 0: the connection ended before there was any."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float  # from the request to the last byte

    @property
    def request_id(self):
        return self.headers["x-request-id"]

    @property
    def error(self):
        return json.loads(self.body)["error"]


class Client:
    """One connection for one request. Connected first, so that a crowd may ask all at the same moment."""

    def __init__(self, reader, writer, origin):
        self._reader, self._writer, self._origin = reader, writer, origin

    @classmethod
    async def connect(cls, origin):
        url = urlsplit(origin)
        return cls(*await asyncio.open_connection(url.hostname, url.port), url.netloc)

    async def ask(self, secret, body):
        """POST /v1/responses; the answer, once its last byte has come."""
        began = time.monotonic()
        self._writer.write(
            f"POST /v1/responses HTTP/1.1\r\nHost: {self._origin}\r\nAuthorization: Bearer {secret}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
            + body
        )
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
            rest = await self._reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            return Answer(0, {}, b"", time.monotonic() - began)
        finally:
            self._writer.close()
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
        body = dechunked(rest) if "transfer-encoding" in headers else rest
        return Answer(int(status.split()[1]), headers, body, time.monotonic() - began)


async def ask(origin, secret, body):
    return await (await Client.connect(origin)).ask(secret, body)


def dechunked(data):
    """What the chunks hold; where the last one is missing, ValueError: the answer is not whole."""
    pieces, place = [], 0
    while True:
        end = data.index(b"\r\n", place)
        size = int(data[place:end], 16)
        if not size:
            return b"".join(pieces)
        pieces.append(data[end + 2 : end + 2 + size])
        place = end + 2 + size + 2
