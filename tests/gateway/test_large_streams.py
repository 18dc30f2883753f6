"""Events of megabytes and streams of hundreds: relayed byte for byte, while the gateway's memory stays bounded."""

import asyncio
import hashlib
import json
from contextlib import ExitStack

import pytest

from tests.gateway.high_water import high_water
from tests.gateway.memory import resident
from tests.gateway_process import GatewayProcess
from tests.raw_stream import RawStream
from tests.tenants import Tenant

MIB = 1 << 20
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def roomy(catalog, tmp_path_factory):
    """A gateway of its own, whose memory nobody else has filled."""
    with GatewayProcess(tmp_path_factory.mktemp("roomy")) as process:
        yield process


@pytest.fixture
def artist(roomy, committed):
    return Tenant.make("artist", roomy.url)


async def digest_of(stream):
    """Reads a stream without keeping it; its bytes and their digest."""
    size, digest = 0, hashlib.sha256()
    while data := await stream.chunk():
        size, _ = size + len(data), digest.update(data)
        assert data.endswith(b"\n\n")
        stream.chunks.clear()
    return size, digest.hexdigest()


async def relayed(artist, upstream, model):
    """The bytes of a stream that is seen to be the upstream's."""
    async with RawStream(artist, model) as stream:
        size, digest = await digest_of(stream)
    ended = await asyncio.to_thread(upstream.ended, stream.request_id)
    assert (size, digest) == (ended["bytes"], ended["body_sha256"])
    return size


async def test_memory_is_bounded_by_the_largest_event_and_not_by_the_stream(roomy, artist, upstream, record_property):
    await relayed(artist, upstream, "sim-everything")
    before = high_water(roomy)
    size = await relayed(artist, upstream, "sim-image-50-4000")
    after_long = high_water(roomy)
    assert size > 200 * MIB
    largest = await relayed(artist, upstream, "sim-image-1-30000")
    after_large = high_water(roomy)
    assert largest > 85 * MIB
    grown = [(reached - before) // MIB for reached in (after_long, after_large)]
    record_property("figures", f"{size // MIB} MiB in events of 4: {grown[0]} MiB more; in events of 30: {grown[1]}")
    assert after_long - before < 64 * MIB
    assert after_large - before < 320 * MIB


def test_what_was_sent_upstream_is_not_kept_until_the_stream_has_ended(roomy, artist, record_property):
    text = "x" * (4 * MIB)
    with artist.stream("sim-hold-0-8", text) as first:
        next(first.iter_raw())
        before = resident(roomy)
        with ExitStack() as stack:
            for _ in range(8):
                next(stack.enter_context(artist.stream("sim-hold-0-8", text)).iter_raw())
            grown = resident(roomy) - before
    record_property("figures", f"8 streams of requests of 4 MiB: {grown // MIB} MiB more")
    assert grown < 16 * MIB


def test_an_event_beyond_the_bound_ends_in_a_failure_and_is_billed_by_estimate(roomy, artist, upstream):
    alarms = roomy.metric("tollgate_alarms_total", reason="event_too_large")
    with artist.stream("sim-image-1-40000") as response:
        received = response.read()
    request_id = response.headers["x-request-id"]
    failed = json.loads(received.split(b"data: ")[-1])
    assert (failed["type"], failed["response"]["error"]["code"]) == ("response.failed", "upstream_error")
    assert len(received) < MIB
    record = artist.record(request_id)
    assert (record.state, record.usage_source, record.flags) == ("settled", "estimated", ["event_too_large"])
    assert record.cost_nano_usd > 0
    assert roomy.metric("tollgate_alarms_total", reason="event_too_large") == alarms + 1


async def test_a_reader_that_stops_reading_stops_the_upstream(roomy, artist, upstream):
    """What is not read waits in the upstream, not in the gateway."""
    before = high_water(roomy)
    async with RawStream(artist, "sim-image-400-1000") as stream:
        await stream.chunk()
        other = await relayed(artist, upstream, "sim-image-20-1000")  # long enough for a flood to show
    assert other > 20 * MIB
    assert high_water(roomy) - before < 64 * MIB
