import asyncio
import json
import re
import socket

import pytest

from gateway.local.simulator.identity import ORGANIZATION
from tests.gateway.local.simulator.asking import KEY, asking, stream

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(30)]


@pytest.mark.parametrize(
    ("scenario", "status", "headers", "names_account"),
    [
        ("status-500", 500, {}, True),
        ("status-503-7", 503, {"retry-after": "7"}, True),
        ("html-502", 502, {"content-type": "text/html; charset=UTF-8"}, False),
        ("garbage", 200, {"content-type": "application/json"}, False),
        ("ratelimited-3", 429, {"retry-after": "3", "retry-after-ms": "3000"}, True),
        ("quota", 429, {}, True),
        ("unauthorized", 401, {}, True),
        ("forbidden", 403, {}, True),
    ],
)
async def test_errors_before_the_stream(client, scenario, status, headers, names_account):
    answer = await client.post("/responses", json=asking(f"sim-{scenario}", stream=True))
    assert answer.status_code == status
    assert headers.items() <= dict(answer.headers).items()
    assert (ORGANIZATION in answer.text) == names_account
    assert (KEY in answer.text) == (scenario in {"quota", "unauthorized", "forbidden"})


@pytest.mark.parametrize(
    ("form", "last"),
    [
        ("nested", ["error", "response.failed"]),
        ("flat", ["error", "response.failed"]),
        ("quota", ["error", "response.failed"]),
        ("plain", ["response.failed"]),
        ("usage", ["response.failed"]),
        ("error", ["error"]),
        ("silent", []),
    ],
)
async def test_failures_inside_a_stream(client, form, last):
    events = await stream(client, f"sim-fail-{form}-6")
    assert [event["type"] for event in events[6:]] == last
    assert [event["sequence_number"] for event in events] == list(range(6 + len(last)))
    if form in {"nested", "quota"}:
        assert "message" in events[6]["error"]
    if form == "flat":
        assert "message" in events[6]
    if "response.failed" in last:
        usage = events[-1]["response"]["usage"]
        assert (usage["output_tokens"] if usage else None) == (2 if form == "usage" else None)
    assert (KEY in json.dumps(events)) == (form == "quota")


async def ask_raw(simulator, model, is_streamed=True):
    """Everything that comes over a plain socket, and how it ended. (A StreamReader drops what it has at a reset.)"""
    loop = asyncio.get_running_loop()
    body = json.dumps(asking(model, stream=is_streamed)).encode()
    head = (
        f"POST /v1/responses HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    received = b""
    with socket.create_connection(("127.0.0.1", int(simulator.origin.rsplit(":", 1)[1]))) as connection:
        connection.setblocking(False)
        await loop.sock_sendall(connection, head.encode() + body)
        try:
            while piece := await asyncio.wait_for(loop.sock_recv(connection, 65536), 0.3):
                received += piece
        except ConnectionResetError:
            return received, "reset"
        except TimeoutError:
            return received, "silence"
    return received, "fin"


@pytest.mark.parametrize(
    ("way", "ending", "tail"),
    [
        ("reset", "reset", rb'response.output_text.delta","sequence_number":4,.*\n\n\r\n'),
        ("close", "fin", rb'response.output_text.delta","sequence_number":4,.*\n\n\r\n'),
        ("stall", "silence", rb'response.output_text.delta","sequence_number":4,.*\n\n\r\n'),
        ("half", "fin", rb'event: response.output_text.delta\ndata: {"type":"[^}\n]*\r\n'),
        ("badjson", "fin", rb'data: {"type":"response.output_text.delta","delta":\n\n\r\n'),
        ("error", "fin", rb'data: {"type":"error",.*}}\n\n\r\n'),
    ],
)
async def test_a_stream_dies_at_the_named_event(simulator, way, ending, tail):
    received, ended = await ask_raw(simulator, f"sim-cut-{way}-5")
    assert ended == ending
    assert re.search(tail + rb"\Z", received)
    assert b"\r\n0\r\n" not in received
    entry = await simulator.log.wait_for(lambda entry: entry["kind"] == "ended")
    assert (entry["ending"], entry["events"]) == ("cut", 6 if way == "error" else 5)
    assert "usage" not in entry


async def test_a_reset_takes_back_nothing_that_was_sent(simulator):
    received, ending = await ask_raw(simulator, "sim-big-4096.cut-reset-5")
    assert ending == "reset"
    assert len(received) > 4096 * 1024


@pytest.mark.parametrize(("way", "ending"), [("reset", "reset"), ("close", "fin"), ("stall", "silence")])
@pytest.mark.parametrize("is_streamed", [True, False])
async def test_an_upstream_may_die_without_any_answer(simulator, way, ending, is_streamed):
    assert await ask_raw(simulator, f"sim-noanswer-{way}", is_streamed) == (b"", ending)


async def test_a_plain_answer_dies_in_its_middle(simulator):
    received, ending = await ask_raw(simulator, "sim-cut-close", is_streamed=False)
    head, _, body = received.partition(b"\r\n\r\n")
    length = int(re.search(rb"content-length: (\d+)", head)[1])
    assert (ending, len(body)) == ("fin", length // 2)
