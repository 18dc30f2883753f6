"""The count before a hold, of the simulator and of upstreams that cannot."""

import asyncio
import json
import uuid

import pytest
import pytest_asyncio

from gateway import sealing
from gateway.addresses import origin_of
from gateway.catalog import RouteFacts, UpstreamFacts
from gateway.local.simulator import Simulator
from gateway.upstream.count import AT_ONCE, Counts, count_input_tokens
from gateway.upstream.exchange import Call, start
from gateway.upstream.transport import UpstreamTransport
from gateway.wire.objects import object_in
from tests.gateway.upstream.sockets import answering, listening, ok, read_request
from tests.gateway.upstream.test_transport import NO_TLS

WHOLE = {
    "model": "gpt-4.1",
    "stream": False,
    "max_output_tokens": 64,
    "max_tool_calls": 3,
    "store": False,
    "metadata": {"a": "b"},
    "instructions": "Be kind.",
    "input": [{"role": "user", "content": [{"type": "input_text", "text": "你好 " * 40}]}],
    "tools": [{"type": "function", "name": "f", "parameters": {}}],
    "tool_choice": "auto",
    "text": {"verbosity": "low"},
    "truncation": "auto",
    "reasoning": {"effort": "low"},
}


@pytest_asyncio.fixture
async def transport():
    sender = UpstreamTransport(connect_seconds=5, read_seconds=5, most_connections=10, tls=NO_TLS)
    yield sender
    await sender.aclose()


def route_to(url):
    origin = origin_of(url, allow_private=True)
    upstream_id = uuid.uuid4()
    key = sealing.seal(b"sk-upstream", f"gateway_upstream:{upstream_id}".encode())
    return RouteFacts(UpstreamFacts(upstream_id, "simulator", url, origin, key), "")


def call_of(body):
    return Call("/responses", body if isinstance(body, bytes) else json.dumps(body).encode(), b"1", False)


async def test_the_count_is_what_is_reported_later(transport):
    async with Simulator() as simulator:
        route, call = route_to(simulator.url), call_of(WHOLE)
        counted = await count_input_tokens(transport, route, call)
        exchange = await start(transport, route, call)
        answer = object_in(await exchange.read(10**6))
        exchange.close()
    assert counted == answer["usage"]["input_tokens"] == 72


async def test_a_count_is_the_same_request_without_what_the_count_does_not_take(transport):
    received = []

    async def counting(reader, writer):
        received.append(await read_request(reader))
        writer.write(ok(b'{"object":"response.input_tokens","input_tokens":7}'))

    async with listening(counting) as origin:
        call = call_of(WHOLE)
        assert await count_input_tokens(transport, route_to(f"http://127.0.0.1:{origin.port}/v1"), call) == 7
    ((head, body),) = received
    assert head.startswith(b"POST /v1/responses/input_tokens HTTP/1.1\r\n")
    assert b"X-Client-Request-Id: %b" % call.request_id in head
    assert json.loads(body) == {
        name: value
        for name, value in WHOLE.items()
        if name not in {"stream", "max_output_tokens", "max_tool_calls", "store", "metadata"}
    }


async def test_a_model_with_fixed_usage_counts_it(transport):
    async with Simulator() as simulator:
        call = call_of({"model": "sim-usage-1234-0-0-5-0", "input": "hi"})
        assert await count_input_tokens(transport, route_to(simulator.url), call) == 1234


@pytest.mark.parametrize("model", ["no-such-model", "sim-status-500", "sim-ratelimited", "sim-noanswer-reset"])
async def test_an_upstream_that_refuses_does_not_count(transport, model):
    async with Simulator() as simulator:
        assert (
            await count_input_tokens(transport, route_to(simulator.url), call_of({"model": model, "input": "x"}))
            is None
        )


async def test_a_count_that_takes_too_long_is_given_up_and_its_connection_closed(transport):
    async def silent(reader, writer):
        await read_request(reader)
        assert await reader.read() == b""

    async with listening(silent) as origin:
        route = route_to(f"http://127.0.0.1:{origin.port}/v1")
        assert await count_input_tokens(transport, route, call_of(WHOLE), seconds=0.05) is None


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"[]", b"no json", b"{}", b'{"input_tokens":null}', b'{"input_tokens":"7"}', b'{"input_tokens":true}',
        b'{"input_tokens":-1}', b'{"input_tokens":0}', b'{"input_tokens":10000000000}', b"x" * 100_000,
    ],
)  # fmt: skip
async def test_what_is_no_count_is_none(transport, answer):
    async with listening(answering(ok(answer))) as origin:
        route = route_to(f"http://127.0.0.1:{origin.port}/v1")
        assert await count_input_tokens(transport, route, call_of(WHOLE)) is None


async def test_nobody_at_the_address_is_none(transport):
    async with listening(answering()) as origin:
        route = route_to(f"http://127.0.0.1:{origin.port}/v1")
    assert await count_input_tokens(transport, route, call_of(WHOLE)) is None


async def test_an_organization_has_few_counts_at_once_and_keeps_no_other_from_theirs(transport):
    """Each count waits for an answer that does not come; one more is not made."""
    acme, globex = uuid.uuid4(), uuid.uuid4()
    async with listening(lambda reader, writer: asyncio.Event().wait()) as origin:
        route, counts = route_to(f"http://127.0.0.1:{origin.port}/v1"), Counts(transport, seconds=5)
        waiting = [asyncio.create_task(counts.count(acme, route, call_of(WHOLE))) for _ in range(AT_ONCE)]
        await asyncio.sleep(0)
        assert await counts.count(acme, route, call_of(WHOLE)) is None
        other = asyncio.create_task(counts.count(globex, route, call_of(WHOLE)))
        await asyncio.sleep(0)
        assert not other.done()
        for task in (*waiting, other):
            task.cancel()
        await asyncio.wait([*waiting, other])
    assert not counts._rooms._running
