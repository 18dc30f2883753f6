import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.failure_texts import MOST_BYTES, TooMuchText, changed_answer, changed_events, may_tell_of_failure
from tests.gateway.wire.streams import delta, event, response, simulated

KEY = "sk-abc"
SAID = {"type": "server_error", "code": "insufficient_quota", "message": f"Key {KEY} 你好", "param": KEY}
CLEAN = {"type": "server_error", "code": "insufficient_quota", "message": "Key [cut] 你好", "param": "[cut]"}


def cut(text):
    return text.replace(KEY, "[cut]")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (event({"type": "error", "error": SAID, "n": 7}, "e"), event({"type": "error", "error": CLEAN, "n": 7}, "e")),
        (event({**SAID, "type": "error"}), event({**CLEAN, "type": "error"})),
        (event({"error": SAID}), event({"error": CLEAN})),
        (event({"error": f"just {KEY}"}), event({"error": "just [cut]"})),
        (event({"message": KEY, "detail": [KEY]}), event({"message": "[cut]", "detail": ["[cut]"]})),
        (response("failed", 3, error=SAID), response("failed", 3, error=CLEAN)),
        (delta(KEY) + response("failed", error=SAID), delta(KEY) + response("failed", error=CLEAN)),
    ],
    ids=["nested", "flat", "no type", "a word", "no code", "response", "between others"],
)  # fmt: skip
def test_the_texts_of_failures_are_changed_and_no_byte_beside(before, after):
    assert may_tell_of_failure(before)
    assert changed_events(before, cut)[0] == after


def test_what_the_model_says_is_nobodys_failure():
    output = [{"type": "message", "message": f"{KEY}", "content": [{"type": "output_text", "text": f'{KEY} "error"'}]}]
    said = (
        response("completed", 4, output=output, error=None)
        + delta(f'"error": {KEY}')
        + response("failed", output=output)
    )
    assert changed_events(said, cut) == (said, set())


SPOKEN = [{"type": "message", "content": [{"type": "output_text", "text": f"{KEY} " * MOST_BYTES}]}]


@pytest.mark.parametrize(
    "answer",
    [
        {"object": "response", "output": SPOKEN}, {"choices": [{"message": {"content": KEY * MOST_BYTES}}]},
        {"type": "response.completed", "response": {"id": "resp_1", "output": SPOKEN}},
    ],
    ids=["response", "chat", "event"],
)  # fmt: skip
@pytest.mark.parametrize("said", ["", f"OK, {KEY}"])
def test_a_message_around_an_answer_is_changed_and_not_what_the_model_says(answer, said):
    for fields in ({}, {"error": {"message": said}}):
        before, after = ({"message": words, **answer} for words in (said, cut(said)))
        if fields:
            before, after = before | fields, after | {"error": {"message": cut(said)}}
        assert changed_answer(json.dumps(before).encode(), cut)[0] == json.dumps(after).encode()


def test_a_message_with_no_answer_is_all_words():
    for fields in ({}, {"output": None}, {"response": "none"}):
        changed, _ = changed_answer(json.dumps({"message": "Sorry", "detail": KEY, **fields}).encode(), cut)
        assert KEY.encode() not in changed


@pytest.mark.parametrize("text", [r"\u0073k-abc", r"a\"sk-abc\n", r"\ud800 sk-abc", r"sk\u002dabc"])
def test_escapes_hide_nothing(text):
    changed, _ = changed_events(b'data: {"type": "error", "message": "' + text.encode() + b'"}\n\n', cut)
    assert KEY not in json.loads(changed[6:])["message"]
    assert "[cut]" in json.loads(changed[6:])["message"]


def test_lines_of_data_stay_as_many():
    before = b'event: error\ndata: {"type":\ndata:"error", "message": "sk-abc", \ndata:  "n": 1}\n\n'
    assert changed_events(before, cut)[0] == before.replace(b"sk-abc", b"[cut]")


def test_an_error_that_is_no_json_is_cleaned_all_the_same():
    changed, codes = changed_events(b'data: {"type":"error","message":"sk-abc","code":\n\n', cut)
    assert (changed, codes) == (b'data: {"type":"error","message":"[cut]","code":\n\n', set())


@pytest.mark.parametrize("said", ["x" * MOST_BYTES, ["x"] * MOST_BYTES])
def test_an_error_without_end_is_not_read(said):
    with pytest.raises(TooMuchText):
        changed_events(event({"type": "error", "message": said}), cut)
    with pytest.raises(TooMuchText):
        changed_events(response("failed", error={"message": said}), cut)
    spoken = response("failed", output=said, error=SAID)
    assert changed_events(spoken, cut)[0] == response("failed", output=said, error=CLEAN)


def test_codes_and_types_are_told():
    assert changed_events(event({"type": "error", "error": SAID}), str)[1] == {"server_error", "insufficient_quota"}
    assert changed_events(event({**SAID, "type": "error"}), str)[1] == {"error", "insufficient_quota"}
    assert changed_events(response("failed", error={"code": "rate_limit_exceeded"}), str)[1] == {"rate_limit_exceeded"}


def test_a_plain_answer_that_failed_is_changed_alike():
    before = {"object": "response", "status": "failed", "output": [{"text": KEY}], "error": SAID}
    after = before | {"error": CLEAN}
    assert changed_answer(json.dumps(before).encode(), cut)[0] == json.dumps(after).encode().replace(
        json.dumps(CLEAN["message"]).encode(), '"Key [cut] 你好"'.encode()
    )


@pytest.mark.parametrize("model", ["sim-everything", "sim-fail-nested", "sim-chat", "sim-multiline", "sim-fail-leak"])
async def test_what_need_not_change_does_not(model):
    stream, _ = await simulated(model)
    assert changed_events(stream, lambda text: text)[0] == stream


@given(
    st.recursive(
        st.none() | st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_whatever_an_error_holds_it_stays_the_same_json(thing):
    """Each text in it is changed once, in its place."""
    before = event({"type": "error", "error": thing, "n": 1})
    changed, _ = changed_events(before, lambda text: text)
    assert changed == before
    doubled, _ = changed_events(before, lambda text: text + "!")
    assert json.loads(doubled[6:]) == {"type!": "error!", "error!": _shouted(thing), "n!": 1}


def _shouted(thing):
    if isinstance(thing, str):
        return thing + "!"
    if isinstance(thing, list):
        return [_shouted(each) for each in thing]
    return {key + "!": _shouted(value) for key, value in thing.items()} if isinstance(thing, dict) else thing
