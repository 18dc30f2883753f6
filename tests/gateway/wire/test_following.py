import json

import pytest

from gateway.wire.following import nothing_new_of, up_to_ending
from gateway.wire.tap import Tap
from tests.gateway.test_byte_equality import SAID, WRITTEN, allowed
from tests.gateway.wire.streams import chunk, delta, event, pieces, response, simulated

DONE = b"data: [DONE]\n\n"
OUTPUT = [{"type": "message", "id": "msg_1", "content": []}]
COMPLETED = response("completed", 4, output=OUTPUT)
SAYING_NOTHING_NEW = (
    b": bye\n\n", b"\n\n", DONE, event({"type": "keepalive", "sequence_number": 5}, "keepalive"), COMPLETED,
    COMPLETED.replace(b"response.completed", b"response.done"),
    response("completed", 5, output=OUTPUT, usage={"input_tokens": 9}),
)  # fmt: skip
NEW = (
    delta("more", 5), response("completed", 5, id="resp_of_another", output=OUTPUT),
    response("completed", 5, output=[{"type": "message", "id": "msg_of_another"}]), response("in_progress", 5),
    event({"type": "response.output_item.done", "item": {"id": "msg_of_another"}}), chunk("more"),
    event({"type": "keepalive", "id": "resp_of_another"}), event({"type": ["x"], "response": {}}), event({}),
    b"event: ping\n\n", b"data: \n\n", b"data: {broken\n\n", b"data: 7\n\n", b"id: 7\n\n",
    event({"type": "response.done", "response": json.loads(COMPLETED.split(b"data: ")[1])["response"] | {"id": "r"}}),
)  # fmt: skip


def passed(chunks):
    """What leaves of a stream that comes in these pieces, each of whole events."""
    tap, left = Tap(), b""
    for block in chunks:
        if tap.reading.ending is not None:
            left += nothing_new_of(block, tap)
            continue
        at = tap.watch(block)
        left += block if at is None else up_to_ending(block, at, tap)
    return left


@pytest.mark.parametrize("is_one_piece", [True, False])
def test_behind_its_ending_a_stream_says_nothing_new(is_one_piece):
    events = [response("created", 0), delta("a", 1), COMPLETED, *SAYING_NOTHING_NEW]
    for new in NEW:
        sent = [*events, new, DONE, new]
        assert passed([b"".join(sent)] if is_one_piece else sent) == b"".join([*events, DONE]), new


def test_behind_its_done_a_chat_says_nothing_new():
    said = [chunk("a"), DONE, *SAYING_NOTHING_NEW[:4]]
    for new in (*NEW, COMPLETED):
        assert passed([*said, new]) == passed([b"".join([*said, new])]) == b"".join(said), new


@pytest.mark.parametrize("said", [*SAID, "chat", "usage-chat", *(f"everything.{written}" for written in WRITTEN)])
async def test_whatever_upstreams_are_known_to_say_passes(said):
    stream, _ = await simulated(f"sim-{said}")
    sent = allowed(stream)
    assert passed([sent]) == sent
    borders = [at + 2 for at in range(len(sent)) if sent.startswith(b"\n\n", at)][:-1]
    assert passed(pieces(sent, borders)) == sent
