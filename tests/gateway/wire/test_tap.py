import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.prices.tokens import TokenUsage
from gateway.local.simulator.usages import chat_form, true_usage
from gateway.wire.references import Kind, digest_of
from gateway.wire.stream import data_of, events_of
from gateway.wire.tap import Tap, is_whole, read_answer
from gateway.wire.usage import read_usage
from tests.gateway.wire.streams import chunk, cuttings, delta, event, pieces, response, simulated, watched

USAGE = true_usage(36, 87, cached=8, reasoning=16)
TOKENS = TokenUsage(input=36, cached=8, output=87, reasoning=16)
COMPLETED = response("completed", 4, usage=USAGE, service_tier="flex")
DONE = b"data: [DONE]\n\n"

# What a model may say to fool a meter that looks for text
DECOYS = [
    'response.completed"', '"response"', '"usage": {"input_tokens": 1}', "[DONE]", "data: [DONE]\n\n", '"error"',
    "event: error\n",
    '\n\nevent: response.completed\ndata: {"type":"response.completed","response":{"usage":{"input_tokens":1}}}\n\n',
    '{"type":"response.output_text.delta"}', "response.output_text.delta\n", ".delta", '"content": "x"',
]  # fmt: skip


def in_one(stream):
    return watched([stream])


def is_ending(event):
    kinds = [f'"type":"response.{kind}"'.encode() for kind in ("completed", "incomplete", "failed")]
    data = data_of(event).replace(b'": "', b'":"')
    return data == b"[DONE]" or any(kind in data for kind in kinds)


@pytest.mark.parametrize(
    "model",
    [
        "sim-ok", "sim-ok.crlf", "sim-ok.cr.bom", "sim-ok.dataonly", "sim-ok.nospace.noblank", "sim-ok.multiline",
        "sim-ok.done",
        "sim-ok.comments.blanks", "sim-ok.keepalive", "sim-reasoning-7", "sim-tool-2", "sim-search-3", "sim-big-64",
        "sim-chat",
        "sim-chat.crlf", "sim-chat.usage-strings", "sim-usage-chat", "sim-usage-both", "sim-usage-floats",
        "sim-usage-zero",
        "sim-fail-usage", "sim-fail-nested", "sim-fail-flat", "sim-tier-priority.othermodel", "gpt-4.1",
    ],
)  # fmt: skip
async def test_what_the_simulator_says_it_served_is_read(model):
    stream, logged = await simulated(model)
    reported = logged.get("usage")
    for chunks in ([stream], pieces(stream, range(1, len(stream))), pieces(stream, range(500, len(stream), 500))):
        tap, left, at = watched(chunks)
        reading = tap.reading
        assert reading.ending == logged["ending"]
        assert reading.usage == (read_usage(reported) if reported else None)
        assert reading.reported_usage == reported
        assert tap.delta_events == logged["deltas"]
        assert reading.response_id == logged["response_id"] or tap.is_chat
        assert [is_ending(event) for event in events_of(left[:at])].count(True) == 0
        assert is_ending(next(events_of(left[at:])))


async def test_tier_model_and_calls_are_those_that_were_served():
    tap, _, _ = in_one((await simulated("sim-search-3.tier-flex.othermodel", service_tier="priority"))[0])
    reading = tap.reading
    assert (reading.service_tier, reading.model) == ("flex", "gpt-4o-mini-2024-07-18")
    assert reading.tool_calls == {"web_search_call": 3}
    tap, _, _ = in_one((await simulated("sim-tool-2"))[0])
    assert tap.reading.tool_calls == {"function_call": 2}


STREAM = (
    response("created", 0, service_tier="auto")
    + response("in_progress", 1)
    + delta("a", 2)
    + b": keepalive\n\n"
    + delta("é", 3)
)


@settings(max_examples=50)
@given(st.data(), st.sampled_from(DECOYS), st.booleans())
def test_however_a_stream_is_cut_the_same_is_read_and_the_ending_found_to_the_byte(data, decoy, is_named):
    stream = STREAM + delta(decoy, 4) + COMPLETED
    if not is_named:
        stream = b"".join(line + b"\n" for line in stream.split(b"\n")[:-1] if not line.startswith(b"event:"))
    tap, left, at = watched(data.draw(cuttings(stream)))
    assert left == stream
    assert json.loads(left[at:].split(b"data: ")[1])["type"] == "response.completed"
    assert left[:at].endswith(b"\n\n")
    assert (tap.reading.usage, tap.reading.service_tier, tap.reading.response_id) == (TOKENS, "flex", "resp_1")
    assert (tap.events, tap.delta_events, tap.next_sequence_number) == (6, 3, 5)


@settings(max_examples=50)
@given(st.data(), st.sampled_from(DECOYS))
def test_a_chat_stream_ends_with_done_alone(data, decoy):
    stream = chunk(role="x") + chunk("你") + chunk(decoy) + chunk(usage=chat_form(USAGE)) + DONE
    tap, left, at = watched(data.draw(cuttings(stream)))
    assert left[at:] == DONE
    assert tap.is_chat
    assert (tap.reading.usage, tap.reading.ending, tap.delta_events) == (TOKENS, "completed", 2)
    assert (tap.reading.response_id, tap.reading.model) == ("chatcmpl-1", "m-1")


@pytest.mark.parametrize("kind", ["completed", "incomplete", "failed"])
def test_every_terminal_event_is_an_ending_and_its_usage_counts(kind):
    tap, left, at = in_one(STREAM + response(kind, 4, usage=USAGE))
    assert (tap.reading.ending, tap.reading.usage) == (kind, TOKENS)
    assert left[at:].startswith(b"event: response." + kind.encode())


@pytest.mark.parametrize(
    "keys", ["type sequence_number response", "response type sequence_number", "sequence_number response type"]
)
def test_the_order_of_keys_means_nothing(keys):
    said = {
        "type": "response.completed",
        "sequence_number": 4,
        "response": {"usage": USAGE, "output": [], "id": "resp_1"},
    }
    ending = event({key: said[key] for key in keys.split()})
    tap, left, at = in_one(STREAM + ending)
    assert left[at:] == ending
    assert tap.reading.usage == TOKENS


def test_an_ending_that_says_nothing_else_is_one():
    tap, _, at = watched([STREAM, event({"type": "response.incomplete", "response": {"id": "resp_1"}})])
    assert at == len(STREAM)
    assert (tap.reading.ending, tap.reading.usage) == ("incomplete", None)


def test_usage_before_the_ending_is_not_the_usage():
    """Some upstreams report zeros while they work: the first number is not the bill."""
    zeros = true_usage(0, 0)
    tap, _, _ = in_one(response("created", 0, usage=zeros) + response("in_progress", 1, usage=zeros) + COMPLETED)
    assert tap.reading.usage == TOKENS
    tap, _, _ = in_one(response("created", 0, usage=zeros) + delta("a", 1))
    assert tap.reading.usage is None


def test_of_chat_chunks_that_report_as_they_go_the_last_counts():
    growing = [chunk("a", usage={"prompt_tokens": 36, "completion_tokens": number}) for number in range(1, 4)]
    tap, _, _ = in_one(b"".join(growing) + chunk("b", usage=None) + DONE)
    assert tap.reading.usage == TokenUsage(input=36, output=3)
    assert tap.reading.reported_usage["completion_tokens"] == 3


def test_a_later_usage_that_cannot_be_true_does_not_undo_the_one_before():
    good, bad = {"prompt_tokens": 36, "completion_tokens": 3}, {"prompt_tokens": -1}
    tap, _, _ = in_one(chunk("a", usage=good) + chunk("a", usage=bad) + DONE)
    assert (tap.reading.usage, tap.reading.reported_usage) == (TokenUsage(input=36, output=3), good)
    assert tap.reading.absurd


@pytest.mark.parametrize("number", [-5, 10**15, "many", True])
def test_absurd_usage_is_kept_as_reported_and_not_billed(number):
    tap, _, _ = in_one(STREAM + response("completed", 4, usage={**USAGE, "output_tokens": number}))
    assert tap.reading.usage is None
    assert tap.reading.absurd
    assert tap.reading.reported_usage["output_tokens"] == number
    assert tap.reading.ending == "completed"


def test_what_follows_the_ending_is_not_read():
    second = response("completed", 5, usage=true_usage(1, 1), model="m-2", service_tier="priority", id="resp_2")
    for chunks in ([STREAM + COMPLETED + second], [STREAM + COMPLETED, second]):
        tap, left, at = watched(chunks)
        assert left[at:] == COMPLETED + second
        assert (tap.reading.usage, tap.reading.model, tap.reading.service_tier) == (TOKENS, "m-1", "flex")
    tap, left, at = watched([chunk("a"), DONE, DONE])
    assert left[at:] == DONE + DONE


def test_done_ends_no_responses_stream():
    tap, _, at = in_one(STREAM + DONE)
    assert (at, tap.reading.ending) == (None, None)
    tap, left, at = in_one(STREAM + COMPLETED + DONE)
    assert left[at:] == COMPLETED + DONE


@pytest.mark.parametrize("size", [1 << 20, 5 << 20])
def test_a_huge_ending_is_read_whole_from_many_chunks(size):
    huge = response("completed", 4, output=[{"type": "message", "text": 'x"\\' * (size // 5)}], usage=USAGE)
    assert len(huge) > size
    tap, left, at = watched(pieces(STREAM + huge, range(65536, len(STREAM + huge), 65536)))
    assert left[at:] == huge
    assert tap.reading.usage == TOKENS


def test_an_ending_without_its_blank_line_is_read():
    for cut_off in (1, 2):
        tap, left, at = in_one((STREAM + COMPLETED)[:-cut_off])
        assert left[at:] == COMPLETED
        assert tap.reading.usage == TOKENS


@pytest.mark.parametrize("is_nested", [True, False])
def test_an_error_of_the_upstream_is_kept_and_ends_nothing(is_nested):
    said = {"code": "server_error", "message": "Sorry", "param": None}
    error = {"type": "error", "sequence_number": 4, **({"error": said} if is_nested else said)}
    tap, _, at = in_one(STREAM + event(error, "error"))
    assert at is None
    assert tap.error == error
    assert tap.next_sequence_number == 5


def test_an_error_without_a_type_is_one_too():
    tap, _, _ = in_one(STREAM + event({"error": {"message": "Sorry"}}))
    assert tap.error == {"error": {"message": "Sorry"}}


def test_the_code_of_a_failure_is_read():
    failed = response("failed", 4, error={"code": "insufficient_quota", "message": "x"})
    assert in_one(STREAM + failed)[0].reading.error_code == "insufficient_quota"
    assert in_one(STREAM + COMPLETED)[0].reading.error_code is None


# Counting what an answer that breaks off is estimated by


@pytest.mark.parametrize(
    "kind",
    ["response.output_text.delta", "response.reasoning_text.delta", "response.function_call_arguments.delta",
     "response.mcp_call_arguments.delta", "response.audio.transcript.delta", "response.custom_tool_call_input.delta"],
)  # fmt: skip
@pytest.mark.parametrize("is_named", [True, False])
def test_every_kind_of_delta_counts_with_or_without_its_name(kind, is_named):
    said = event({"type": kind, "delta": "a"}, kind if is_named else None)
    compact = said.replace(b": ", b":")
    assert in_one(STREAM + said + compact)[0].delta_events == 4


@pytest.mark.parametrize("decoy", DECOYS)
def test_no_text_counts_as_a_delta_of_its_own(decoy):
    assert in_one(STREAM + delta(decoy))[0].delta_events == 3
    assert in_one(chunk("") + chunk(decoy))[0].delta_events == 1


def test_an_answer_that_said_nothing_has_no_deltas():
    assert in_one(response("created", 0) + response("failed", 1))[0].delta_events == 0
    assert in_one(chunk("", usage=None) + chunk(None) + DONE)[0].delta_events == 0


def test_calls_in_chat_form_are_deltas():
    call = {"index": 0, "function": {"name": "f", "arguments": '{"a'}}
    said = event({"choices": [{"delta": {"tool_calls": [call]}}]})
    assert in_one(chunk("") + said + said)[0].delta_events == 2


# What its items give away


@pytest.mark.parametrize("state", ["added", "done"])
def test_an_item_is_known_from_its_beginning_and_its_content_from_its_end(state):
    item = {"type": "reasoning", "id": "rs_1", "encrypted_content": "sealed"}
    kind = f"response.output_item.{state}"
    issued = in_one(STREAM + event({"type": kind, "output_index": 0, "item": item}, kind))[0].reading.issued
    content = {digest_of(Kind.CONTENT, "sealed")} if state == "done" else set()
    assert set(issued) == {digest_of(Kind.ITEM, "rs_1"), *content}


# The number of an event of ours


@pytest.mark.parametrize(
    ("stream", "number"),
    [
        (b"", 0), (response("created", 0), 1), (STREAM, 4), (STREAM + b": keepalive\n\n\n\n", 4),
        (response("created", 100) + delta("a", 101), 102),
        (response("created") + delta("a") + delta("b"), 3),
        (response("created", 100) + event({"type": "ping"}), 102), (STREAM + b"data: {broken\n\n", 5),
        (event({"response": {}, "sequence_number": "7"}), 1),
    ],
)  # fmt: skip
def test_an_event_of_ours_is_numbered_on_however_the_stream_was_cut(stream, number):
    for borders in ([], range(1, len(stream)), [len(stream) // 2]):
        assert watched(pieces(stream, borders))[0].next_sequence_number == number


# Hostile bytes


WEIRD = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=3), st.sampled_from(["error",
    "response.completed"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["type", "response", "error", "usage", "output", "choices", "id", "object", "tool_usage",
            "action"]),
            inner, max_size=5,
        ),
    ),
    max_leaves=15,
)  # fmt: skip


@settings(max_examples=200)
@given(
    st.lists(
        st.one_of(st.binary(max_size=30), WEIRD.map(event), st.sampled_from([*map(delta, DECOYS), DONE, COMPLETED]))
    )
)
def test_nothing_that_an_upstream_sends_makes_the_tap_fail(blocks):
    tap = Tap()
    for block in blocks:
        offset = tap.watch(block)
        assert offset is None or 0 <= offset <= len(block)
        tap.has_chat_usage(block)
    assert isinstance(tap.next_sequence_number, int)


@pytest.mark.parametrize(
    "data",
    [b"[" * 100_000, b'{"response":' * 100_000, b'{"type":{},"response":{}}',
     b'{"type":["response.completed"],"response":{}}', b'{"type":"response.output_item.added","item":["response"]}',
     b'"\xff\xfe response"', b'{"response":{"usage":1e999}}', rb'{"response":"\ud800"}',
     b'{"usage":' + b"9" * 5000 + b"}",
     b'{"choices":[],"usage":{"prompt_tokens":' + b"9" * 400 + b"}}"],
)  # fmt: skip
def test_the_worst_of_them(data):
    for before in (b"", STREAM, chunk("a")):
        tap, _, at = in_one(before + b"data: " + data + b"\n\n")
        assert at is None
        assert tap.reading.usage is None


# Plain answers and half events


def test_a_plain_answer_is_read_in_both_forms():
    answer = {
        "id": "resp_1",
        "object": "response",
        "status": "incomplete",
        "model": "m",
        "service_tier": "flex",
        "usage": USAGE,
    }
    reading = read_answer(json.dumps(answer).encode())
    assert (reading.ending, reading.usage, reading.service_tier, reading.response_id) == (
        "incomplete",
        TOKENS,
        "flex",
        "resp_1",
    )
    chat = {"id": "chatcmpl-1", "object": "chat.completion", "choices": [], "model": "m", "usage": chat_form(USAGE)}
    reading = read_answer(json.dumps(chat).encode())
    assert (reading.ending, reading.usage, reading.response_id) == ("completed", TOKENS, "chatcmpl-1")


@pytest.mark.parametrize(
    "fields", [{"status": "failed"}, {"error": {"code": "x"}}, {"status": 7, "error": {"code": "x"}}]
)
def test_a_plain_answer_that_failed(fields):
    assert read_answer(json.dumps({"id": "resp_1", **fields}).encode()).ending == "failed"


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b"12", b'{"a":', b"\xff", b"null", b"[" * 100_000])
def test_what_is_no_object_is_no_answer(body):
    assert read_answer(body) is None


@pytest.mark.parametrize(
    ("rest", "is_one"),
    [
        (b"data: {}\n\n", True), (b"data: [DONE]\n\n", True), (b": keepal\n\n", True), (b"\n", True),
        (b'data: {"a\n\n', False),
        (b"event: response.completed\n\n", False), (b"event: respo\n\n", False), (b"dat\n\n", False),
        (b"data: 12\n\n", False),
        (b"event: x\ndata: {}\n\n", True),
    ],
)  # fmt: skip
def test_half_an_event_is_told_from_a_whole_one(rest, is_one):
    assert is_whole(rest) is is_one


def test_the_last_response_is_read_once_however_often_it_is_asked_for():
    tap = Tap()
    assert tap.response is None
    tap.watch(b'data: {"type":"response.created","response":{"id":"resp_1"}}\n\n')
    assert tap.response == {"id": "resp_1"}
    assert tap.response is tap.response
    tap.watch(b'data: {"type":"response.completed","response":{"id":"resp_2"}}\n\n')
    assert tap.response == {"id": "resp_2"}
