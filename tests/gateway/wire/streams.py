"""Streams for these tests: events by hand, the simulator's without a socket, and their cutting into chunks."""

import json
import ssl

import httpx
from hypothesis import strategies as st

from gateway.local.simulator import Simulator
from gateway.wire.stream import EventSplitter
from gateway.wire.tap import Tap

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # unused; the default one is dear to make


def event(message, name=None):
    named = f"event: {name}\n" if name else ""
    return f"{named}data: {json.dumps(message, ensure_ascii=False)}\n\n".encode()


def response(kind, number=None, **fields):
    """A lifecycle event `response.KIND`."""
    fields = {
        "id": "resp_1",
        "object": "response",
        "model": "m-1",
        "status": kind,
        "output": [],
        "usage": None,
    } | fields
    numbered = {} if number is None else {"sequence_number": number}
    return event({"type": f"response.{kind}", **numbered, "response": fields}, f"response.{kind}")


def delta(text, number=None):
    numbered = {} if number is None else {"sequence_number": number}
    kind = "response.output_text.delta"
    return event({"type": kind, **numbered, "item_id": "msg_1", "delta": text}, kind)


def chunk(content=None, **fields):
    """A chat completion's chunk."""
    said = {} if content is None else {"content": content}
    choices = [{"index": 0, "delta": said, "finish_reason": None}]
    return event({"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "m-1", "choices": choices, **fields})


async def simulated(model, text="你好啊 world", **body):
    """The bytes of a stream of the simulator, and its log's line on it: what it says it reported."""
    async with (
        Simulator() as simulator,
        httpx.AsyncClient(verify=NO_TLS, headers={"authorization": "Bearer x"}) as http,
    ):
        asked = {"model": model, "input": text, "stream": True, **body}
        answer = await http.post(f"{simulator.url}/responses", json=asked)
        assert answer.status_code == 200, answer.text
        return answer.content, simulator.log.ended()[-1]


def cuttings(stream):
    """Strategy: the stream in chunks, at borders of any kind."""
    borders = st.lists(st.integers(0, len(stream)), max_size=12).map(sorted)
    every_byte = st.just(list(range(1, len(stream))))
    return st.one_of(borders, every_byte).map(lambda at: pieces(stream, at))


def pieces(stream, borders):
    return [stream[start:end] for start, end in zip([0, *borders], [*borders, len(stream)], strict=True)]


def watched(chunks, max_event_bytes=1 << 25):
    """The tap after a whole stream, what left the splitter, and where the stream's ending starts in it."""
    splitter, tap, left, endings = EventSplitter(max_event_bytes), Tap(), b"", []
    for block in [*map(splitter.feed, chunks), splitter.close()]:
        if block:
            offset = tap.watch(block)
            endings += [] if offset is None else [len(left) + offset]
            left += block
    assert len(endings) <= 1
    return tap, left, endings[0] if endings else None
