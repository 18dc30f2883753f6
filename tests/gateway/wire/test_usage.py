import json
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.prices.tokens import MOST_TOKENS, AbsurdUsage, TokenUsage
from gateway.local.simulator.usages import SHAPES, chat_form, true_usage
from gateway.wire.stream import events_of
from gateway.wire.usage import events_with_responses_keys, read_usage, tool_calls_of, with_responses_keys
from tests.gateway.wire.streams import chunk, delta, event, response

TRUE = true_usage(36, 87, cached=8, written=4, reasoning=16)
TOKENS = TokenUsage(input=36, cached=8, cache_write=4, output=87, reasoning=16)
CHAT = chat_form(TRUE)
RESPONSES_KEYS = set(TRUE)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.sampled_from(["7",
    "1e400"])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from([*TRUE, *CHAT]), inner,
    max_size=5)),
    max_leaves=10,
)  # fmt: skip
COUNTS = st.integers(0, 10**6)
USAGES = st.builds(
    lambda read, written, cached, wrote, reasoned: true_usage(
        read + cached + wrote, written + reasoned, cached=cached, written=wrote, reasoning=reasoned
    ),
    COUNTS, COUNTS, COUNTS, COUNTS, COUNTS,
)  # fmt: skip


@pytest.mark.parametrize("shape", ["strings", "floats", "chat", "both", "wrongtotal", "more"])
def test_the_same_tokens_are_read_from_every_shape(shape):
    assert read_usage(SHAPES[shape](TRUE)) == TOKENS


def test_details_may_be_missing_or_null():
    assert read_usage(SHAPES["short"](TRUE)) == TokenUsage(input=36, output=87)
    nulls = {"input_tokens": 36, "input_tokens_details": None, "output_tokens": 87, "output_tokens_details": {}}
    assert read_usage(nulls) == TokenUsage(input=36, output=87)
    assert read_usage({"input_tokens": 3, "input_tokens_details": {"cached_tokens": None}}) == TokenUsage(input=3)


@pytest.mark.parametrize(
    "usage", [None, {}, [], "36", 36, {"total_tokens": 9}, {"input_tokens": None}, {"prompt_tokens": None}]
)
def test_absent_is_not_zero(usage):
    assert read_usage(usage) is None


def test_zero_is_zero():
    assert read_usage(SHAPES["zero"](TRUE)) == TokenUsage()


@pytest.mark.parametrize("shape", ["negative", "absurd", "words"])
def test_what_cannot_be_true_is_absurd(shape):
    with pytest.raises(AbsurdUsage):
        read_usage(SHAPES[shape](TRUE))


@pytest.mark.parametrize("field", ["input_tokens", "output_tokens"])
@pytest.mark.parametrize(
    "number", [True, -1, 0.5, "", "0x10", float("nan"), float("inf"), "1e400", 10**400, MOST_TOKENS + 1, [1], {"a": 1}]
)
def test_a_number_that_is_none_is_absurd(field, number):
    with pytest.raises(AbsurdUsage):
        read_usage({**TRUE, field: number})


@pytest.mark.parametrize("field", ["cached_tokens", "cache_write_tokens"])
@pytest.mark.parametrize("number", [-1, 10**30, "many"])
def test_a_detail_that_cannot_be_true_is_absurd_too(field, number):
    with pytest.raises(AbsurdUsage):
        read_usage({**TRUE, "input_tokens_details": {field: number}})


def test_of_both_forms_the_one_with_a_number_counts():
    both = {**CHAT, **TRUE, "input_tokens": 50}
    assert read_usage(both).input == 50
    assert read_usage({**both, "input_tokens": "50"}).input == 36
    assert read_usage({**both, "input_tokens": None}).input == 36
    assert read_usage({**TRUE, "prompt_tokens": None, "completion_tokens": None}) == TOKENS


def test_what_one_form_lacks_the_other_may_have():
    assert read_usage({"input_tokens": 3, "completion_tokens": 4}) == TokenUsage(input=3, output=4)
    assert read_usage({"prompt_tokens": 3, "output_tokens": 4}) == TokenUsage(input=3, output=4)


@given(JSON)
def test_any_usage_is_tokens_or_none_or_absurd(usage):
    try:
        tokens = read_usage(usage)
    except AbsurdUsage:
        return
    assert tokens is None or (type(tokens.input) is int and 0 <= tokens.total <= 2 * MOST_TOKENS)


@given(USAGES, st.sampled_from(["strings", "floats"]))
def test_numbers_in_any_writing_are_exact(usage, writing):
    assert read_usage(SHAPES[writing](usage)) == read_usage(usage)
    assert read_usage(chat_form(usage)) == read_usage(usage)


# Tool calls


def test_calls_are_counted_by_type():
    output = [
        {"type": "function_call"}, {"type": "function_call"}, {"type": "message"}, {"type": "file_search_call"},
        {"type": "web_search_call", "action": {"type": "search"}}, {"type": "web_search_call"},
        {"type": "web_search_call", "action": {"type": "open_page"}}, "call", {"type": ["x_call"]}, None,
    ]  # fmt: skip
    assert tool_calls_of({"output": output}) == {"function_call": 2, "file_search_call": 1, "web_search_call": 2}


@pytest.mark.parametrize(
    ("reported", "counted"), [(3, 3), (0, None), (-1, 1), (True, 1), ("3", 1), (10**30, 1), (None, 1)]
)
def test_the_reported_number_of_searches_counts_where_it_is_one(reported, counted):
    output = [{"type": "web_search_call", "action": {"type": "search"}}]
    found = tool_calls_of({"output": output, "tool_usage": {"web_search": {"num_requests": reported}}})
    assert found.get("web_search_call") == counted


def code(container, **fields):
    return {"type": "code_interpreter_call", "container_id": container, **fields}


def shell(**environment):
    return {"type": "shell_call", "environment": environment}


@pytest.mark.parametrize(
    ("output", "containers"),
    [
        ([code("a"), code("a"), code("b")], 2),
        ([code("a"), shell(type="container_reference", container_id="a")], 1),
        ([code("a"), shell(type="container_reference", container_id="b")], 2),
        ([shell(type="local"), {"type": "shell_call", "environment": None}, {"type": "shell_call"}], None),
        ([code(None), code(["a"]), {"type": "code_interpreter_call"}], 1),
        ([{"type": "mcp_call", "container_id": "a"}], None),
    ],
)
def test_code_is_counted_by_the_containers_it_ran_in(output, containers):
    found = tool_calls_of({"output": output})
    assert found.pop("container", None) == containers
    assert sum(found.values()) == len(output)


@pytest.mark.parametrize(
    ("tools", "kind"),
    [
        ([{"type": "code_interpreter", "container": {"type": "auto", "memory_limit": "4g"}}], "container_4g"),
        ([{"type": "code_interpreter", "container": {"type": "auto", "memory_limit": "1g"}}], "container"),
        ([{"type": "shell", "environment": {"type": "container_auto", "memory_limit": "64g"}}], "container_64g"),
        (
            [{"type": "code_interpreter", "container": {"memory_limit": limit}} for limit in ("4g", "16g", None)],
            "container_16g",
        ),
        ([{"type": "code_interpreter", "container": "cntr_1"}], "container"),
        ([{"type": "code_interpreter", "container": {"memory_limit": ["4g"]}}], "container"),
        ([None, "x", []], "container"),
        (None, "container"),
    ],
)
def test_a_container_with_more_memory_is_another_kind(tools, kind):
    assert tool_calls_of({"output": [code("a")], "tools": tools}) == {"code_interpreter_call": 1, kind: 1}


@pytest.mark.parametrize("output", [None, {}, "x", 3, [[]]])
def test_an_output_that_is_no_list_has_no_calls(output):
    assert tool_calls_of({"output": output, "tool_usage": []}) == {}


# The Responses keys beside the chat form


@settings(max_examples=60)
@given(USAGES, st.sampled_from([None, 0, 1, 2]), st.sampled_from(["", "\u4f60\u597d", '}"usage":{']))
def test_the_responses_keys_stand_beside_the_chat_keys(usage, indent, text):
    chat = chat_form(usage)
    answer = {"id": text, "response": {"usage": chat, "note": {"usage": 1}}, "usage": None}
    document = json.dumps(answer, indent=indent).encode()
    changed = with_responses_keys(document, chat, "response", "usage")
    found = json.loads(changed)
    assert {key: found["response"]["usage"][key] for key in chat} == chat
    assert read_usage(found["response"]["usage"]) == read_usage(usage)
    assert found["response"]["usage"].keys() >= RESPONSES_KEYS
    found["response"]["usage"] = chat
    assert found == answer
    assert is_inserted(changed, document)


def is_inserted(changed, document):
    """Whether `changed` is `document` with one run of bytes more."""
    start = next(
        (at for at, (new, old) in enumerate(zip(changed, document, strict=False)) if new != old), len(document)
    )
    return changed.endswith(document[start:])


def test_a_null_of_the_upstreams_makes_room_and_other_values_stay():
    usage = {
        "input_tokens": None,
        "prompt_tokens": 5,
        "completion_tokens": 6,
        "output_tokens": "6",
        "total_tokens": None,
    }
    document = json.dumps({"usage": usage}).encode()
    found = json.loads(with_responses_keys(document, usage, "usage"))["usage"]
    assert (found["input_tokens"], found["output_tokens"], found["total_tokens"]) == (5, "6", 11)
    assert document.count(b"input_tokens") == 1


@pytest.mark.parametrize(
    "usage", [TRUE, {**CHAT, **TRUE}, None, {}, [], {"prompt_tokens": -1}, {"prompt_tokens": "many"}]
)
def test_any_other_usage_is_left_alone(usage):
    document = json.dumps({"usage": usage}).encode()
    assert with_responses_keys(document, usage, "usage") == document


EVENTS = [
    b": keepalive\n\n", b"\n\n", b"data: [DONE]\n\n", b"data: {broken\n\n", b"data: " + b"[" * 5000 + b"\n\n",
    delta('"usage"'), response("completed", 3, usage=TRUE), response("completed", 3, usage=CHAT), chunk("a",
    usage=None),
    chunk(usage=CHAT), b"event: x\ndata:" + event({"usage": CHAT})[6:],
    b"data: " + json.dumps({"usage": CHAT}, indent=1).replace("\n", "\ndata: ").encode() + b"\nid: 3\n\n",
]  # fmt: skip


@settings(max_examples=60)
@given(st.lists(st.sampled_from(EVENTS), max_size=6), st.data())
def test_a_block_gains_the_keys_and_nothing_else_and_its_mark_moves_along(events, data):
    block = b"".join(events)
    borders = [len(b"".join(events[:index])) for index in range(len(events))]
    mark = data.draw(st.sampled_from([None, *borders]))
    changed, moved = events_with_responses_keys(block, mark)
    assert all(is_inserted(new, old) for new, old in zip(events_of(changed), events_of(block), strict=True))
    if mark is None:
        assert moved is None
    else:
        assert changed[moved:] == events_with_responses_keys(block[mark:], None)[0]
        assert changed[:moved] == events_with_responses_keys(block[:mark], None)[0]


@pytest.mark.parametrize("old", [response("completed", usage=CHAT), *EVENTS[-3:]])
def test_each_event_with_chat_usage_gains_the_keys(old):
    new, _ = events_with_responses_keys(old, None)
    added = new.count(b'"input_tokens_details"'), new.count(b'"output_tokens"')
    assert added == (1, 1)
    assert len(list(events_of(new))) == 1


def test_a_float_price_beside_the_tokens_keeps_its_digits():
    """The document is not written anew, so that not even a number's writing changes."""
    document = b'{"usage":{"prompt_tokens":1,"completion_tokens":2,"cost":1.2300e-2}}'
    changed = with_responses_keys(document, json.loads(document)["usage"], "usage")
    assert b'"cost":1.2300e-2' in changed
    assert json.loads(changed, parse_float=Decimal)["usage"]["total_tokens"] == 3
