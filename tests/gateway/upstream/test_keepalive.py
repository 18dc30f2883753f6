"""Comments in a silent stream: behind the first event, between whole events, and never in a slow reader's way."""

import asyncio

import pytest

from gateway.upstream.keepalive import KEEPALIVE, KeptAlive
from tests.billing.books import until
from tests.gateway.stage import Listener, Stage, Upstream, completed, created, delta

SECONDS = 0.02
pytestmark = pytest.mark.usefixtures("quiet_loop")


async def test_a_silent_upstream_is_bridged_by_comments_between_whole_events(meter, books):
    client, half = Listener(), len(delta(1)) // 2

    async def thinking(send):
        await asyncio.sleep(3 * SECONDS)  # before the first event: an error would still be a plain one
        await send(created())
        await until(lambda: client.received.count(KEEPALIVE) >= 2)
        await send(delta(1)[:half])  # and in the middle of an event
        seen = client.received.count(KEEPALIVE)
        await until(lambda: client.received.count(KEEPALIVE) > seen)
        await send(delta(1)[half:])
        await send(completed())

    async with Upstream(thinking) as upstream:
        stage, hold = Stage(meter, books, upstream, keepalive_seconds=SECONDS), books.hold()
        await stage.play(client, hold)
        await stage.close()
    assert client.pieces[0] == created()
    assert all(piece.endswith(b"\n\n") for piece in client.pieces)
    assert client.received.replace(KEEPALIVE, b"") == created() + delta(1) + completed()
    assert client.ended
    assert books.record(hold)["usage_source"] == "reported"


async def test_without_seconds_a_stream_is_the_upstreams_bytes_alone(meter, books):
    async def thinking(send):
        await send(created())
        await asyncio.sleep(5 * SECONDS)
        await send(completed())

    client = Listener()
    async with Upstream(thinking) as upstream:
        stage = Stage(meter, books, upstream)
        await stage.play(client)
        await stage.close()
    assert client.received == created() + completed()


async def test_a_stream_that_is_not_silent_has_no_comments():
    client = Listener()
    kept = KeptAlive(client, 10.0)
    for _ in range(1000):
        await kept.send(b"data: 1\n\n")
    await kept.end()
    assert client.received == b"data: 1\n\n" * 1000


async def test_one_comment_at_most_waits_for_a_slow_reader_and_events_keep_their_order():
    client = Listener()
    kept = KeptAlive(client, SECONDS)
    await kept.send(b"data: 1\n\n")
    client.takes.clear()
    await client.waits.wait()  # the first comment
    event = asyncio.create_task(kept.send(b"data: 2\n\n"))
    await asyncio.sleep(5 * SECONDS)
    client.takes.set()
    await event
    await kept.end()
    assert client.received == b"data: 1\n\n" + KEEPALIVE + b"data: 2\n\n"
    assert client.ended


async def test_a_comment_that_waits_when_the_stream_ends_is_taken_back():
    client = Listener()
    kept = KeptAlive(client, SECONDS)
    await kept.send(b"data: 1\n\n")
    client.takes.clear()
    await client.waits.wait()
    await kept.end()
    client.takes.set()
    await asyncio.sleep(3 * SECONDS)
    assert (client.received, client.ended) == (b"data: 1\n\n", True)


async def test_nothing_is_said_to_a_client_that_left():
    client = Listener(leaves_after=1)
    kept = KeptAlive(client, SECONDS)
    await kept.send(b"data: 1\n\n")
    await asyncio.sleep(3 * SECONDS)
    assert client.received == b"data: 1\n\n"
    assert kept.is_gone
    kept.release()
