"""HTTP/1.1 over a few bare sockets, each for one request after another: thousands in seconds."""

import asyncio
import json
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.crowd import dechunked

LANES = 16
ASKED_AND_ANSWERED_SECONDS = 30
OURS_ALONE = {"x-request-id", "date"}  # headers that differ between any two answers


@dataclass(frozen=True)
class Asked:
    secret: str
    method: str
    path: str
    body: dict | None = None


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def without(self, name):
        """All of it that may be compared, with a mark in the place of an id."""
        kept = sorted((key, value) for key, value in self.headers.items() if key not in OURS_ALONE)
        return self.status, kept, self.body.replace(name.encode(), b"{id}")


async def answers_to(origin, asked):
    """The answers, in the order of what is asked."""
    waiting = iter(list(enumerate(asked)))
    answers = {}

    async def lane():
        url = urlsplit(origin)
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        try:
            for number, request in waiting:
                writer.write(_written(url.netloc, request))
                answers[number] = await asyncio.wait_for(_read(reader), ASKED_AND_ANSWERED_SECONDS)
        finally:
            writer.close()
            await writer.wait_closed()

    await asyncio.gather(*(lane() for _ in range(LANES)))
    return [answers[number] for number in sorted(answers)]


def _written(host, asked):
    body = b"" if asked.body is None else json.dumps(asked.body).encode()
    return (
        f"{asked.method} /v1{asked.path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {asked.secret}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


async def _read(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
    if "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    else:
        body = dechunked(await _chunks(reader))
    return Answer(int(status.split()[1]), headers, body)


async def _chunks(reader):
    whole = b""
    while True:
        size = await reader.readuntil(b"\r\n")
        whole += size + await reader.readexactly(int(size, 16) + 2)
        if size == b"0\r\n":
            return whole
