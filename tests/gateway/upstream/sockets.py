"""An upstream of few words for these tests: a listening socket whose every byte the test decides."""

import asyncio
import contextlib
import ssl

import httpx

from gateway.addresses import Origin


@contextlib.asynccontextmanager
async def listening(handle, *, tls=None):
    """Origin of a server that gives each connection to `handle(reader, writer)` and closes it afterwards."""
    tasks = set()

    async def serve(reader, writer):
        tasks.add(asyncio.current_task())
        try:
            with contextlib.suppress(
                asyncio.CancelledError, asyncio.IncompleteReadError, ConnectionError, ssl.SSLError
            ):
                await handle(reader, writer)
                writer.close()
                await writer.wait_closed()
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield Origin("https" if tls else "http", "127.0.0.1", server.sockets[0].getsockname()[1], allow_private=True)
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        failures = await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)
    assert [failure for failure in failures if isinstance(failure, AssertionError)] == []


async def read_request(reader):
    """Head and body of the next request."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next((line[16:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length: ")), b"0")
    return head, await reader.readexactly(int(length))


def answering(*answers):
    """A handler that answers each connection's requests with `answers`, one after the other, then closes it."""

    async def handle(reader, writer):
        for answer in answers:
            await read_request(reader)
            writer.write(answer)
            await writer.drain()

    return handle


def ok(body, *headers):
    return b"\r\n".join([b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *headers, b"", body])


def request_to(origin, body=b"{}", path="/v1/responses", headers=()):
    url = f"{origin.scheme}://{origin.host}:{origin.port}{path}"
    return httpx.Request("POST", url, content=body, headers=[*headers], extensions={"origin": origin})


async def ask(sender, origin, *args, **more):
    """Status and whole body."""
    response = await sender.handle_async_request(request_to(origin, *args, **more))
    try:
        return response.status_code, b"".join([piece async for piece in response.stream])
    finally:
        await response.aclose()
