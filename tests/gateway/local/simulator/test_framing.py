import gzip
import re

import pytest

from tests.gateway.local.simulator.asking import ECHO, asking, said, stream

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(30)]


@pytest.mark.parametrize(
    "framing",
    [
        *("crlf", "cr", "dataonly", "nospace", "multiline", "bom", "comments", "blanks", "done", "bytes", "pieces-3"),
        *("joined", "whole", "split", "noblank", "gzip", "done.noblank.crlf"),
    ],
)
async def test_odd_framing_still_says_the_same(client, framing):
    events = await stream(client, f"sim-{framing}")
    assert said(events) == ECHO
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == ECHO


async def test_framing_is_what_its_name_says(client):
    async def sent(scenario):
        return (await client.post("/responses", json=asking(f"sim-{scenario}", stream=True))).content

    assert (await sent("bom")).startswith(b"\xef\xbb\xbfevent: response.created\n")
    assert b"\n" not in await sent("cr")
    assert b"\n" not in (await sent("crlf")).replace(b"\r\n", b"")
    assert b"event" not in (await sent("dataonly")).split(b"data:")[0]
    assert b"event:response.created\ndata:{" in await sent("nospace")
    assert re.search(rb"\ndata: \{\ndata:  \"type\"", await sent("multiline"))
    assert (await sent("comments")).startswith(b": keepalive\n\nevent: ")
    assert (await sent("done")).endswith(b"}\n\ndata: [DONE]\n\n")
    assert re.search(rb"}\n\Z", await sent("noblank"))
    assert not (await sent("noblank")).endswith(b"\n\n")
    assert (await sent("done.noblank")).endswith(b"data: [DONE]\n")


async def test_chunks_are_cut_as_asked(client):
    async def chunks(scenario):
        async with client.stream("POST", "/responses", json=asking(f"sim-{scenario}", stream=True)) as answer:
            return [chunk async for chunk in answer.aiter_raw()]

    assert {len(chunk) for chunk in await chunks("bytes")} == {1}
    pieces = [len(chunk) for chunk in await chunks("pieces-5")]
    assert max(pieces) <= 60
    assert len(set(pieces)) > 10
    assert len(await chunks("joined")) == 2
    assert all(chunk.endswith(b"\n\n") for chunk in await chunks("ok"))


async def test_a_big_event_comes_whole(client):
    events = await stream(client, "sim-big-300")
    assert len(said(events)) == 300 * 1024


async def test_compression_is_sent_though_it_was_not_asked(client, simulator):
    headers = {"accept-encoding": "identity", "x-client-request-id": "zipped"}
    answer = await client.post("/responses", json=asking("sim-gzip", stream=True), headers=headers)
    assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(simulator.sent.find("zipped")) == answer.content


async def test_keepalive_events_are_numbered_with_the_others(client):
    events = await stream(client, "sim-keepalive")
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events].count("keepalive") == (len(events) - 1) // 2


async def test_another_model_may_answer(client):
    assert (await stream(client, "sim-othermodel"))[-1]["response"]["model"] == "gpt-4o-mini-2024-07-18"
