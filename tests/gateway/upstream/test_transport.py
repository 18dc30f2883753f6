"""The transport over real sockets, on both event loops (conftest.py)."""

import asyncio
import contextlib
import gc
import random
import socket
import ssl
import tracemalloc
import types
import uuid
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import httpx
import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.addresses import Origin
from gateway.local.simulator import Simulator
from gateway.upstream import transport as transport_module
from gateway.upstream.connection import MOST_HEADER_BYTES
from gateway.upstream.exchange import Exchange
from gateway.upstream.transport import UpstreamTransport
from tests.gateway.upstream.sockets import answering, ask, listening, ok, read_request, request_to

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=1\r\nllo\r\n0\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\nhello"


NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # unused; the default one is dear to make


@pytest_asyncio.fixture
async def transport():
    """Makes transports, and closes them."""
    made = []

    def make(*, connect_seconds=5.0, read_seconds=5.0, most_connections=100, tls=NO_TLS):
        sender = UpstreamTransport(
            connect_seconds=connect_seconds, read_seconds=read_seconds, most_connections=most_connections, tls=tls
        )
        made.append(sender)
        return sender

    yield make
    for sender in made:
        await sender.aclose()
        await until_open(sender, 0)


def open_connections(sender):
    return len(sender._open)


async def until_open(sender, number):
    """Waits until so many connections are open: that a socket was closed has no event."""
    async with asyncio.timeout(5):
        while open_connections(sender) != number:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


# Requests and answers


async def test_it_says_when_the_request_leaves_and_not_before_there_is_a_connection(transport):
    said, sender, lines = [], transport(), [b"GET / HTTP/1.1", b"Host: acme"]
    async with listening(answering(ok(b"hi"), ok(b"hi"))) as origin:
        for connections in (0, 1):  # a new connection, and one that is kept
            assert open_connections(sender) == connections
            answer = await sender.ask(origin, lines, b"", lambda: said.append(open_connections(sender)))
            assert await answer.read() == b"hi"
            answer.close()
    assert said == [1, 1]
    nobody = Origin("http", "127.0.0.1", 9, allow_private=True)
    with pytest.raises(httpx.ConnectError):
        await transport().ask(nobody, lines, b"", lambda: said.append(0))
    assert said == [1, 1]


async def test_the_request_is_written_as_it_was_asked(transport):
    heads = []

    async def handle(reader, writer):
        heads.append(await read_request(reader))
        writer.write(ok(b"hi"))

    async with listening(handle) as origin:
        headers = [(b"X-A", b"1"), (b"X-A", b"2")]
        assert await ask(transport(), origin, "{你}".encode(), "/v1/responses?a=b%20c", headers) == (200, b"hi")
    host = f"127.0.0.1:{origin.port}".encode()
    assert heads == [
        (
            b"POST /v1/responses?a=b%20c HTTP/1.1\r\nHost: "
            + host
            + b"\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 5\r\n\r\n",
            "{你}".encode(),
        )
    ]


@pytest.mark.parametrize(
    "answer", [ok(b"hello"), CHUNKED, UNTIL_CLOSE, CHUNKED.replace(b"\r\n\r\n2", b"\r\nTrailer: a\r\n\r\n2")]
)
@pytest.mark.parametrize("is_cut", [False, True])
async def test_a_body_of_every_framing_is_read_in_whatever_pieces_it_comes(transport, answer, is_cut):
    async def handle(reader, writer):
        await read_request(reader)
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(len(answer)) if is_cut else ():
            writer.write(answer[at : at + 1])
            await asyncio.sleep(0)
        if not is_cut:
            writer.write(answer)

    async with listening(handle) as origin:
        assert await ask(transport(), origin) == (200, b"hello")


@pytest.mark.parametrize(
    "interim", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: a\r\nContent-Length: 9\r\n\r\n"]
)
async def test_an_interim_answer_is_passed_over(transport, interim):
    async with listening(answering(interim * 2 + ok(b"hello", b"X-B: 1"))) as origin:
        sender = transport()
        response = await sender.handle_async_request(request_to(origin))
        assert (response.status_code, response.headers["x-b"], "link" in response.headers) == (200, "1", False)
        assert await response.aread() == b"hello"


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_without_a_body_ends_at_its_headers_and_keeps_the_connection(transport, status):
    bare = b"HTTP/1.1 %d X\r\n\r\n" % status
    async with listening(answering(bare, ok(b"hi"))) as origin:
        sender = transport()
        assert await ask(sender, origin) == (status, b"")
        assert await ask(sender, origin) == (200, b"hi")


async def test_repeated_headers_are_joined_and_odd_bytes_in_them_are_kept(transport):
    async with listening(answering(ok(b"", b"X-C: a", b"X-C: \xe9"))) as origin:
        response = await transport().handle_async_request(request_to(origin))
        assert response.headers.raw[-1:] == [(b"x-c", b"a, \xe9")]
        await response.aclose()


async def test_each_piece_is_there_as_soon_as_it_came(transport):
    goes_on = asyncio.Event()

    async def handle(reader, writer):
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        await goes_on.wait()
        writer.write(b"1\r\nb\r\n0\r\n\r\n")
        await writer.drain()

    async with listening(handle) as origin:
        response = await transport().handle_async_request(request_to(origin))
        pieces = aiter(response.stream)
        assert await anext(pieces) == b"a"
        goes_on.set()
        assert [piece async for piece in pieces] == [b"b"]
        await response.aclose()


@pytest.mark.parametrize("bad", [b"a\r\nX-Evil: 1", b"a\nb", b"a\rb", b"a\0"])
async def test_a_line_break_in_a_header_never_leaves(transport, bad):
    async def handle(reader, writer):
        pytest.fail("a connection was made")

    async with listening(handle) as origin:
        with pytest.raises(httpx.LocalProtocolError):
            await ask(transport(), origin, headers=[(b"Authorization", bad)])


# Connections are kept


def counting(handle):
    """The same handler, and how often it was given a connection."""
    count = []

    async def counted(reader, writer):
        count.append(1)
        await handle(reader, writer)

    return counted, count


async def test_a_connection_is_used_again(transport):
    handle, count = counting(answering(*[ok(b"hi")] * 5))
    async with listening(handle) as origin:
        sender = transport()
        assert [await ask(sender, origin) for _ in range(5)] == [(200, b"hi")] * 5
        assert len(count) == 1


@pytest.mark.parametrize("last", [ok(b"hi", b"Connection: close"), ok(b"hi").replace(b"1.1", b"1.0")])
async def test_a_connection_that_was_announced_to_end_is_not(transport, last):
    handle, count = counting(answering(last, ok(b"no")))
    async with listening(handle) as origin:
        sender = transport()
        assert [await ask(sender, origin) for _ in range(2)] == [(200, b"hi")] * 2
        assert len(count) == 2
        await until_open(sender, 0)


async def test_a_connection_that_the_upstream_closed_is_not_used(transport):
    handle, count = counting(answering(ok(b"hi")))
    async with listening(handle) as origin:
        sender = transport()
        for _ in range(3):
            assert await ask(sender, origin) == (200, b"hi")
            await until_open(sender, 0)
        assert len(count) == 3


async def test_a_connection_that_was_idle_for_long_is_closed(transport, monkeypatch):
    handle, count = counting(answering(ok(b"hi"), ok(b"no")))
    monkeypatch.setattr(transport_module, "IDLE_SECONDS", -1)
    async with listening(handle) as origin:
        sender = transport()
        assert await ask(sender, origin) == (200, b"hi")
        assert await ask(sender, origin) == (200, b"hi")
        assert len(count) == 2
        await until_open(sender, 0)


@pytest.mark.parametrize("junk", [b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", b"junk", b"\x16\x03\x01"])
@pytest.mark.parametrize("is_at_once", [True, False])
async def test_what_nobody_asked_for_is_never_an_answer(transport, junk, is_at_once):
    """Whether it comes with the answer before it or later: that answer counts, the connection ends."""
    sends_junk = asyncio.Event()

    async def handle(reader, writer):
        await read_request(reader)
        writer.write(ok(b"hi") + (junk if is_at_once else b""))
        if not is_at_once:
            await sends_junk.wait()
            writer.write(junk)
        assert await reader.read() == b""

    handle, count = counting(handle)
    async with listening(handle) as origin:
        sender = transport()
        response = await sender.handle_async_request(request_to(origin))
        assert (response.status_code, response.headers["content-length"]) == (200, "2")
        assert await response.aread() == b"hi"
        sends_junk.set()
        await until_open(sender, 0)
        sends_junk.clear()
        assert await ask(sender, origin) == (200, b"hi")
        assert len(count) == 2


async def test_not_even_an_empty_line_may_come_unasked(transport):
    sends = asyncio.Event()

    async def handle(reader, writer):
        await read_request(reader)
        writer.write(ok(b"hi"))
        await sends.wait()
        writer.write(b"\r\n")
        assert await reader.read() == b""

    async with listening(handle) as origin:
        sender = transport()
        assert await ask(sender, origin) == (200, b"hi")
        sends.set()
        await until_open(sender, 0)


# Answers that break


@pytest.mark.parametrize("answer", [ok(b"hello"), CHUNKED], ids=["length", "chunked"])
@pytest.mark.parametrize("is_reset", [False, True])
async def test_a_cut_at_any_point_is_an_error_and_never_an_end(transport, answer, is_reset):
    cuts = iter(range(len(answer)))

    async def handle(reader, writer):
        await read_request(reader)
        writer.write(answer[: next(cuts)])
        await writer.drain()
        if is_reset:
            await asyncio.sleep(0.002)
            writer.transport.abort()

    async with listening(handle) as origin:
        sender = transport()
        for _ in answer:
            with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
                await ask(sender, origin)
        await until_open(sender, 0)


async def test_a_reset_is_no_end_of_a_body_without_length(transport):
    async def handle(reader, writer):
        await read_request(reader)
        writer.write(UNTIL_CLOSE)
        await reader.readexactly(1)

    async with listening(handle) as origin:
        sender = transport()
        response = await sender.handle_async_request(request_to(origin))
        pieces = aiter(response.stream)
        assert await anext(pieces) == b"hello"
        await sender.aclose()
        with pytest.raises(httpx.ReadError):
            await anext(pieces)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\0\0\0\0", b"SSH-2.0-OpenSSH\r\n\r\n", b"<html>no</html>", b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ],
)  # fmt: skip
async def test_what_is_no_valid_answer_is_an_error(transport, garbage):
    async def handle(reader, writer):
        await read_request(reader)
        writer.write(garbage)
        await reader.read()

    async with listening(handle) as origin:
        sender = transport()
        with pytest.raises(httpx.RemoteProtocolError):
            await ask(sender, origin)
        await until_open(sender, 0)


@pytest.mark.parametrize(
    ("start", "repeated"),
    [
        (b"HTTP/1.1 200 OK\r\nX-A: ", b"a" * 1000), (b"HTTP/1.1 200 OK\r\n", b"X-A: a\r\n" * 100),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 50), (CHUNKED[:-2] + b"X-A: ", b"a" * 1000),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"a" * 1000),
    ],
    ids=["one-header", "many-headers", "interim", "trailer", "extension"],
)  # fmt: skip
async def test_headers_without_end_are_refused_in_time(transport, start, repeated):
    sent = 0

    async def handle(reader, writer):
        nonlocal sent
        await read_request(reader)
        writer.write(start)
        while True:
            writer.write(repeated)
            await writer.drain()
            sent += len(repeated)

    async with listening(handle) as origin:
        with pytest.raises(httpx.RemoteProtocolError, match="too large"):
            await ask(transport(), origin)
        assert sent < 100 * MOST_HEADER_BYTES  # what the sockets between may hold


async def test_large_headers_are_refused_and_a_large_body_behind_small_ones_is_not(transport):
    async with listening(answering(ok(b"x", b"X-A: " + b"a" * MOST_HEADER_BYTES))) as origin:
        with pytest.raises(httpx.RemoteProtocolError, match="too large"):
            await ask(transport(), origin)
    async with listening(answering(ok(b"x" * 5_000_000, b"X-A: " + b"a" * 60_000))) as origin:
        assert await ask(transport(), origin) == (200, b"x" * 5_000_000)


async def test_the_bound_on_headers_starts_anew_with_the_body(transport):
    async def handle(reader, writer):
        await read_request(reader)
        head = CHUNKED.split(b"\r\n\r\n")[0]
        writer.write(head + b"\r\nX-A: " + b"a" * 60_000 + b"\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.01)
        for size, data in ((2, b"he"), (3, b"llo")):
            writer.write(b"%d;x=%b\r\n" % (size, b"a" * 10_000))
            await asyncio.sleep(0.01)
            writer.write(data + b"\r\n")
        writer.write(b"0\r\n\r\n")

    async with listening(handle) as origin:
        assert await ask(transport(), origin) == (200, b"hello")


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200", ok(b"hello")[:-1]])
async def test_silence_is_a_timeout(transport, sent):
    async def handle(reader, writer):
        await read_request(reader)
        writer.write(sent)
        assert await reader.read() == b""  # the transport closes

    async with listening(handle) as origin:
        sender = transport(read_seconds=0.05)
        with pytest.raises(httpx.ReadTimeout):
            await ask(sender, origin)
        await until_open(sender, 0)


async def test_a_body_that_goes_on_may_take_longer_than_the_timeout(transport):
    async def handle(reader, writer):
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n")
        for _ in range(8):
            await asyncio.sleep(0.05)
            writer.write(b"x")

    async with listening(handle) as origin:
        assert await ask(transport(read_seconds=0.25), origin) == (200, b"x" * 8)


# Connecting


async def test_a_refused_connection_is_an_error_at_once(transport):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        origin = Origin("http", "127.0.0.1", unused.getsockname()[1], allow_private=True)
    with pytest.raises(httpx.ConnectError):
        await ask(transport(), origin)


async def test_a_connection_that_is_not_taken_is_a_timeout(transport):
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(address)
        with pytest.raises(httpx.ConnectTimeout):
            await ask(transport(connect_seconds=0.1), Origin("http", *address, allow_private=True))
        for one in waiting:
            one.close()


async def test_a_name_that_is_none_is_an_error(transport):
    for host in ("no-such-host.invalid", "a" * 64 + ".invalid", "a..b"):
        with pytest.raises(httpx.ConnectError):
            await ask(transport(), Origin("http", host, 80, allow_private=True))


async def test_the_next_address_is_tried_where_the_first_takes_no_connection(transport, monkeypatch):
    async def two_addresses(origin):
        return ["127.0.0.2", "127.0.0.1"]

    monkeypatch.setattr(transport_module, "resolve", two_addresses)
    async with listening(answering(ok(b"hi"))) as origin:
        assert await ask(transport(), origin) == (200, b"hi")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1", "0x7f.1", "2130706433", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]"]
)
@pytest.mark.parametrize("has_origin", [True, False])
async def test_no_connection_is_made_to_a_private_address_unless_it_is_allowed(transport, host, has_origin):
    """By its name or in any writing,
    with an origin or from a URL alone: the check sits where the connection is made."""
    handle, count = counting(answering(ok(b"secret")))
    async with listening(handle) as origin:
        forbidden = Origin("https", host.strip("[]"), origin.port)
        extensions = {"origin": forbidden} if has_origin else {}
        request = httpx.Request("GET", f"https://{host}:{origin.port}/", extensions=extensions)
        with pytest.raises(httpx.ConnectError, match="no public address"):
            await transport().handle_async_request(request)
        assert not count


@pytest.mark.parametrize("url", ["http://api.example/", "https://user@api.example/", "ftp://api.example/"])
async def test_a_url_that_is_not_allowed_is_an_httpx_error(transport, url):
    with pytest.raises(httpx.ConnectError):
        await transport().handle_async_request(httpx.Request("GET", url))


async def test_a_redirect_is_an_answer_and_not_followed(transport):
    handle, count = counting(answering(b"HTTP/1.1 307 X\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n"))
    async with listening(handle) as origin:
        assert await ask(transport(), origin) == (307, b"")
        assert len(count) == 1


# Bounds


async def test_no_more_connections_than_allowed_and_room_again_once_one_ends(transport):
    goes_on = asyncio.Event()

    async def handle(reader, writer):
        await read_request(reader)
        await goes_on.wait()
        writer.write(ok(b"hi"))
        await reader.read()

    async with listening(handle) as origin:
        sender = transport(most_connections=3)
        waiting = [asyncio.create_task(ask(sender, origin)) for _ in range(3)]
        await until_open(sender, 3)
        with pytest.raises(httpx.PoolTimeout):
            await ask(sender, origin)
        waiting[0].cancel()
        await until_open(sender, 2)
        fourth = asyncio.create_task(ask(sender, origin))
        goes_on.set()
        assert await asyncio.gather(*waiting[1:], fourth) == [(200, b"hi")] * 3


async def test_connections_that_are_idle_make_room_for_another_upstream(transport):
    async with listening(answering(*[ok(b"a")] * 9)) as first, listening(answering(*[ok(b"b")] * 9)) as second:
        sender = transport(most_connections=4)
        assert await asyncio.gather(*[ask(sender, first) for _ in range(4)]) == [(200, b"a")] * 4
        assert await asyncio.gather(*[ask(sender, second) for _ in range(4)]) == [(200, b"b")] * 4
        assert open_connections(sender) == 4


async def test_a_reader_that_takes_its_time_holds_back_the_upstream(transport):
    """50 MB for somebody who reads a piece now and then: what waits here stays small."""
    size, sent = 50_000_000, 0

    async def handle(reader, writer):
        nonlocal sent
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        piece = bytes(100_000)
        for _ in range(size // len(piece)):
            writer.write(piece)
            await writer.drain()
            sent += len(piece)

    async with listening(handle) as origin:
        response = await transport().handle_async_request(request_to(origin))
        await asyncio.sleep(0.1)
        held_back_at = sent
        await asyncio.sleep(0.1)
        assert sent == held_back_at < 15_000_000  # the sockets between take some megabytes
        tracemalloc.start()
        received = 0
        async for piece in response.stream:
            received += len(piece)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        await response.aclose()
    assert received == size
    assert peak < 4_000_000


# Cancelling


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", ok(b"hello")[:-1]])
async def test_cancelled_in_the_middle_the_connection_is_closed_and_the_upstream_sees_it(transport, sent):
    arrived, left = asyncio.Event(), asyncio.Event()

    async def handle(reader, writer):
        await read_request(reader)
        writer.write(sent)
        arrived.set()
        assert await reader.read() == b""
        left.set()

    async with listening(handle) as origin:
        sender = transport()
        task = asyncio.create_task(ask(sender, origin))
        await arrived.wait()
        await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises((asyncio.CancelledError, httpx.ReadError)):
            await task
        async with asyncio.timeout(2):
            await left.wait()
        await until_open(sender, 0)
        assert not any(sender._idle.values())


async def test_cancelled_while_it_connects_nothing_is_left(transport):
    async with listening(answering(ok(b"hi"))) as origin:
        sender = transport(most_connections=5)
        for steps in range(12):
            task = asyncio.create_task(ask(sender, origin))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await until_open(sender, 0)
        assert sender._opening == 0


async def test_an_answer_that_is_dropped_half_read_closes_its_connection(transport):
    async with listening(answering(ok(b"x" * 1_000_000))) as origin:
        sender = transport()
        response = await sender.handle_async_request(request_to(origin))
        await anext(aiter(response.stream))
        await response.aclose()
        await response.aclose()
        await until_open(sender, 0)


@pytest.mark.parametrize("seed", range(3))
async def test_no_answer_ever_reaches_another_request(transport, seed):
    """Many at once over few connections, each asking for words of its own, a third of them cancelled anywhere."""
    chance = random.Random(seed)

    async def handle(reader, writer):
        while True:
            _, body = await read_request(reader)
            for piece in (b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(body) * 50), *[body] * 50):
                writer.write(piece)
                if chance.random() < 0.1:
                    await asyncio.sleep(chance.random() / 300)

    async def one(number):
        tag = b"<%06d>" % number
        assert await ask(sender, origin, tag) == (200, tag * 50)

    async with listening(handle) as origin:
        sender = transport(most_connections=64)
        running, outcomes = set(), []
        for number in range(600):
            task = asyncio.create_task(one(number))
            running.add(task)
            if chance.random() < 0.33:
                asyncio.get_running_loop().call_later(chance.random() / 60, task.cancel)
            while len(running) >= 40:
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                outcomes += done
        outcomes += running
        await asyncio.wait(running)
        failures = [task.exception() for task in outcomes if not task.cancelled() and task.exception()]
        assert failures == []
        assert 50 < sum(task.cancelled() for task in outcomes) < 250
        await asyncio.sleep(0.01)
        assert open_connections(sender) == sum(map(len, sender._idle.values())) <= 40
        await sender.aclose()
        await until_open(sender, 0)


async def test_nothing_is_kept_of_requests_that_are_over(transport):
    async with listening(answering(*[ok(b"x" * 1000)] * 300)) as origin:
        sender = transport()
        await ask(sender, origin)
        gc.collect()
        before = len(gc.get_objects())
        for _ in range(200):
            await ask(sender, origin)
        gc.collect()
        assert len(gc.get_objects()) - before < 100


class Body(bytes):
    """A request's body that is missed."""

    left = 0

    def __new__(cls, size):
        cls.left += 1
        return super().__new__(cls, size)

    def __del__(self):
        Body.left -= 1


@pytest.mark.parametrize("answer", [b"", b"no HTTP\r\n\r\n", None], ids=["closed", "garbage", "silent"])
async def test_nothing_of_a_request_that_failed_waits_for_the_collector(transport, answer):
    async def handle(reader, writer):
        await read_request(reader)
        await reader.read() if answer is None else writer.write(answer)

    sender = transport(read_seconds=0.05)
    lines = [b"POST / HTTP/1.1", b"Host: acme", b"Content-Length: 1000"]
    async with listening(handle) as origin:
        gc.collect()
        gc.disable()
        try:
            with contextlib.suppress(httpx.HTTPError):
                await sender.ask(origin, lines, Body(1000), lambda: None)
            await asyncio.sleep(0.001)  # the loop lets go of what woke us
            assert Body.left == 0
        finally:
            gc.enable()


async def test_an_answer_in_tiny_pieces_takes_no_more_memory_than_its_size():
    pieces = iter([200_000, *range(200_000)])

    class Answer:
        headers = {}

        async def read(self):
            number = next(pieces, None)
            return b"" if number is None else b"%d" % number

    exchange = Exchange(Answer(), types.SimpleNamespace(id=uuid.uuid4(), sealed_key=None))
    tracemalloc.start()
    try:
        assert len(await exchange.read(2_000_000)) == 1_088_896
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


async def test_a_trailer_is_no_header(transport):
    async def handle(reader, writer):
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: 1\r\n\r\n")
        await asyncio.sleep(0.01)
        writer.write(b"2\r\nhi\r\n0\r\nX-A: 2\r\nX-B: 3\r\n\r\n")

    async with listening(handle) as origin:
        answer = await transport().ask(origin, [b"GET / HTTP/1.1", b"Host: acme"], b"", lambda: None)
        assert await answer.read() == b"hi"
        assert await answer.read() == b""
        assert answer.headers == {"transfer-encoding": "chunked", "x-a": "1"}
        answer.close()


# With the simulator, and TLS


@pytest.mark.parametrize("way", ["reset", "close", "half", "badjson"])
async def test_a_stream_that_the_simulator_cuts_is_an_error(transport, way):
    async with Simulator() as simulator:
        origin = Origin("http", "127.0.0.1", int(simulator.origin.rpartition(":")[2]), allow_private=True)
        body = b'{"model": "sim-paced-9-1.cut-%b-4", "stream": true, "input": "a"}' % way.encode()
        response = await transport().handle_async_request(
            request_to(origin, body, headers=[(b"Authorization", b"Bearer x")])
        )
        with pytest.raises(httpx.ReadError):
            await response.aread()


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A certificate authority of our own: makes a server's context for a host, and the context that trusts it."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name.from_rfc4514_string("CN=Test authority")
    now = datetime.now(UTC)

    def certificate(subject, public_key, *extensions):
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(name).public_key(public_key)
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
        known = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
        builder = builder.add_extension(known, critical=False)  # Python 3.13 asks for both
        own = x509.SubjectKeyIdentifier.from_public_key(public_key)
        builder = builder.add_extension(own, critical=False)
        for extension in extensions:
            builder = builder.add_extension(extension, critical=True)
        return builder.sign(key, hashes.SHA256())

    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    root = certificate(name, key.public_key(), x509.BasicConstraints(ca=True, path_length=None), usage)

    def server_of(*names):
        own = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name.from_rfc4514_string("CN=Test server")
        signed = certificate(subject, own.public_key(), x509.SubjectAlternativeName(names))
        file = tmp_path_factory.mktemp("tls") / "server.pem"
        key_bytes = own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        file.write_bytes(key_bytes + signed.public_bytes(Encoding.PEM))
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(file)
        return context

    trusting = ssl.create_default_context(cadata=root.public_bytes(Encoding.PEM).decode())
    return server_of, trusting


LOOPBACK = x509.IPAddress(ip_address("127.0.0.1"))


async def test_tls_with_an_authority_of_ones_own(transport, authority):
    server_of, trusting = authority
    handle, count = counting(answering(ok(b"hi"), CHUNKED, ok(b"x" * 3_000_000)))
    async with listening(handle, tls=server_of(LOOPBACK)) as origin:
        sender = transport(tls=trusting)
        assert [await ask(sender, origin) for _ in range(3)] == [(200, b"hi"), (200, b"hello"), (200, b"x" * 3_000_000)]
        assert len(count) == 1
        await sender.aclose()
        await until_open(sender, 0)


async def test_a_certificate_for_another_host_is_refused(transport, authority):
    server_of, trusting = authority
    handle, _ = counting(answering(ok(b"hi")))
    for names in ([x509.DNSName("api.example")], [x509.IPAddress(ip_address("127.0.0.2")), x509.DNSName("127.0.0.1")]):
        async with listening(handle, tls=server_of(*names)) as origin:
            with pytest.raises(httpx.ConnectError, match="verify failed"):
                await ask(transport(tls=trusting), origin)


async def test_an_unknown_authority_is_refused(transport, authority):
    async with listening(answering(ok(b"hi")), tls=authority[0](LOOPBACK)) as origin:
        with pytest.raises(httpx.ConnectError, match="verify failed"):
            await ask(transport(tls=ssl.create_default_context()), origin)


async def test_a_tls_answer_cut_short_is_an_error(transport, authority):
    server_of, trusting = authority
    async with listening(answering(ok(b"hello")[:-1]), tls=server_of(LOOPBACK)) as origin:
        with pytest.raises(httpx.ReadError):
            await ask(transport(tls=trusting), origin)
