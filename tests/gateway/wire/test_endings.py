"""The ending of ours; that real clients see a failure in it is shown with them (tests/gateway)."""

import json

import pytest

from gateway.wire.endings import ending_of_ours
from gateway.wire.stream import data_of, events_of
from tests.gateway.wire.streams import chunk, delta, event, response, watched

SAID = {"code": "rate_limit_exceeded", "message": "Slow down", "type": "requests", "param": None}


def ending_after(stream):
    ending = ending_of_ours(watched([stream])[0], code="upstream_error", message="It broke.")
    assert ending.endswith(b"\n\n")
    return [(event.split(b"\n")[0].decode(), json.loads(data_of(event))) for event in events_of(ending)]


def test_a_stream_that_broke_gets_an_error_and_a_failed_response_numbered_on():
    (first, error), (second, failed) = ending_after(response("created", 7, output=[{"x": 1}], tools=[]) + delta("a", 8))
    assert (first, second) == ("event: error", "event: response.failed")
    said = {"type": "server_error", "code": "upstream_error", "message": "It broke.", "param": None}
    assert error == {"type": "error", "sequence_number": 9, "error": said}
    assert (failed["type"], failed["sequence_number"]) == ("response.failed", 10)
    assert failed["response"] == {
        "id": "resp_1", "object": "response", "model": "m-1", "status": "failed", "output": [], "usage": None,
        "tools": [],
        "error": {"code": "upstream_error", "message": "It broke."},
    }  # fmt: skip


@pytest.mark.parametrize("error", [{"error": SAID}, SAID])
def test_after_the_upstreams_own_error_only_its_response_fails(error):
    stream = response("created", 0) + event({**error, "type": "error", "sequence_number": 1}, "error")
    ((name, failed),) = ending_after(stream)
    assert (name, failed["sequence_number"]) == ("event: response.failed", 2)
    assert failed["response"]["error"] == {"code": "rate_limit_exceeded", "message": "Slow down"}


def test_an_error_that_says_nothing_is_given_our_words():
    ((_, failed),) = ending_after(event({"type": "error", "error": {"code": None}}))
    assert failed["response"]["error"] == {"code": "upstream_error", "message": "It broke."}
    assert {"id", "object", "created_at", "model", "output"} <= failed["response"].keys()


def test_a_chat_stream_gets_one_chunk_with_the_error_and_no_done():
    ((name, data),) = ending_after(chunk("a"))
    assert name.startswith("data: ")
    assert data == {"error": {"type": "server_error", "code": "upstream_error", "message": "It broke.", "param": None}}
