"""A client that sees what a stream is on the wire: each chunk of the chunked encoding as the gateway wrote it."""

import asyncio
import contextlib
import json
from urllib.parse import urlsplit

MOST_LINE_BYTES = 64 * 1024
SECONDS = 60


class RawStream:
    """`async with RawStream(tenant, model) as stream:` has read the headers; `chunk()` is the next, b"" at the end."""

    def __init__(self, tenant, model, text="Hello there", **fields):
        body = json.dumps({"model": model, "input": text, "stream": True, **fields}).encode()
        self._target = urlsplit(tenant.url)
        self._request = (
            f"POST {self._target.path}/responses HTTP/1.1\r\nhost: {self._target.netloc}\r\n"
            f"authorization: Bearer {tenant.secret}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        ).encode() + body
        self.chunks = []
        self.ended = False

    async def __aenter__(self):
        async with asyncio.timeout(SECONDS):
            self._reader, self._writer = await asyncio.open_connection(
                self._target.hostname, self._target.port, limit=MOST_LINE_BYTES
            )
            self._writer.write(self._request)
            head = await self._reader.readuntil(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").strip().split("\r\n")
        self.status = int(status.split()[1])
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        return self

    async def __aexit__(self, *_):
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    @property
    def request_id(self):
        return self.headers["x-request-id"]

    @property
    def received(self):
        return b"".join(self.chunks)

    async def chunk(self):
        async with asyncio.timeout(SECONDS):
            if "content-length" in self.headers:
                return await self._reader.readexactly(0 if self.ended else int(self.headers["content-length"]))
            size = int(await self._reader.readline(), 16)
            data = (await self._reader.readexactly(size + 2))[:-2]
        if data:
            self.chunks.append(data)
        self.ended = not data
        return data

    async def read(self):
        """All chunks to the end, which must be a clean one: IncompleteReadError or ValueError where it is none."""
        while await self.chunk():
            pass
        return self.received
