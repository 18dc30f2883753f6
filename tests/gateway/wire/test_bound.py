"""The bound holds for whatever an upstream reports (tests/gateway/requests_made.py has a model of one)."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.bound import Terms, bound_of
from gateway.wire.request import InvalidRequest, parse_create
from tests.gateway.requests_made import made

WINDOW = 100_000
TERMS = Terms("gpt-5.6-sol", WINDOW)
SEEDS = 5_000


def bound(terms=TERMS, previous_tokens=None, **fields):
    body = json.dumps({"model": "m", "input": "hi", **fields}).encode()
    return bound_of(parse_create(body), len(body), terms, previous_tokens=previous_tokens), len(body)


def bound_of_made(request):
    body = request.body
    return bound_of(parse_create(body), len(body), Terms(request.model, request.context_window))


def overage(request):
    """Tokens above the bound, of input, output and calls; the bound that was."""
    most, used = bound_of_made(request), request.used()
    assert most.output_tokens is None or used.output <= most.output_tokens
    assert sum(used.calls.values()) <= most.tool_calls
    assert used.calls.keys() <= most.tool_kinds
    counted = most.counted(used.counted)
    assert counted.input_tokens <= most.input_tokens
    return used.input - most.all_input_tokens, used.input - counted.all_input_tokens


@pytest.mark.slow
def test_no_request_without_tools_of_the_upstream_uses_more_than_its_bound():
    over = [(seed, overage(made(seed, upstream_tools=False))) for seed in range(SEEDS)]
    assert [(seed, tokens) for seed, tokens in over if max(tokens) > 0] == []


@pytest.mark.slow
def test_with_such_tools_at_most_one_in_a_hundred_does():
    over = [overage(made(seed, upstream_tools=True))[0] > 0 for seed in range(SEEDS)]
    assert 0 < sum(over) <= SEEDS // 100


def test_a_plain_text_is_bound_by_its_bytes_and_a_little_framing():
    most, size = bound(input="你好" * 100, instructions="Be kind.")
    assert size < most.input_tokens <= size + 64
    assert (most.output_tokens, most.tool_calls, most.tool_input_tokens, most.uncounted_tokens) == (None, 0, 0, 0)


def test_framing_has_tokens_and_no_bytes():
    body = json.dumps({"model": "m", "input": [{}, {}, {}], "tools": [{"type": "function"}, {"type": "apply_patch"}]})
    most = bound_of(parse_create(body.encode()), 0, TERMS)
    assert most.input_tokens == 64 + 3 * 8 + 32 + 2_048


@pytest.mark.parametrize(
    "fields", [{"input": [{"type": ["x"]}]}, {"input": [{"content": [{"type": {}}]}]}, {"tools": [{"type": []}, 7]}]
)
def test_a_type_that_is_no_string_is_the_upstreams_to_refuse(fields):
    assert bound(**fields)[0].input_tokens < WINDOW


@pytest.mark.parametrize(
    ("stated", "most"), [(None, None), (4096, 4096), (16, 16), (3, 16), (0, None), (-1, None)]
)  # fmt: skip
def test_output_is_bound_by_what_the_body_states(stated, most):
    assert bound(max_output_tokens=stated)[0].output_tokens == most


def test_no_input_is_larger_than_the_window():
    assert bound(input="x" * 3 * WINDOW)[0].input_tokens == WINDOW
    assert bound(Terms("m", 0), input="x" * 3 * WINDOW)[0].input_tokens > 3 * WINDOW


FILE = {"type": "input_file", "filename": "a.pdf"}
SMALL_PNG = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"


def said(*parts):
    return [{"role": "user", "content": list(parts)}]


@pytest.mark.parametrize(
    "fields",
    [
        {"previous_response_id": "resp_1"},
        {"conversation": {"id": "conv_1"}},
        {"prompt": {"id": "pmpt_1"}},
        {"input": said(FILE | {"file_id": "file-1"})},
        {"input": said(FILE | {"file_url": "https://example.com/a.pdf"})},
        {"input": said(FILE | {"file_data": "data:application/pdf;base64,JVBERi0="})},
        {"input": said({"file_id": "file-1"})},
        {"input": said({"type": "input_video", "data": "AAAA"})},
        {"input": said({"type": "input_image", "image_url": "https://example.com/a.png"})},
        {"input": said({"type": "input_image", "file_id": "file-1", "detail": "original"})},
        {"input": said({"type": "input_image", "image_url": "data:image/gif;base64,R0lGODlhAQABAAAAACw="})},
        {"input": [{"type": "item_reference", "id": "msg_1"}]},
        {"input": [{"id": "rs_1", "type": "reasoning"}]},
        {"input": [{"type": "function_call_output", "call_id": "c", "output": [FILE | {"file_id": "file-1"}]}]},
        {"input": [{"type": "computer_call_output", "output": {"type": "computer_screenshot", "file_id": "f"}}]},
        {"input": [{"type": "image_generation_call", "id": "ig_1", "result": "R0lGODlh"}]},
        {"input": [{"type": "additional_tools", "role": "developer", "tools": [{"type": "mcp"}]}]},
        {"tools": [{"type": "mcp", "server_label": "docs"}]},
        {"tools": [{"type": "shell", "environment": {"type": "container_auto", "skills": [{"skill_id": "s"}]}}]},
    ],
)
def test_what_the_body_does_not_show_counts_as_the_window(fields):
    assert bound(**fields)[0].input_tokens == WINDOW


@pytest.mark.parametrize(
    "fields",
    [
        {"input": [{"id": "msg_1", "role": "user", "content": "hi"}]},
        {"input": [{"type": "function_call_output", "call_id": "c", "output": "file_id"}]},
        {"input": [{"type": "shell_call_output", "call_id": "c", "output": [{"stdout": "x", "stderr": ""}]}]},
        {"input": [{"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAAA"}]},
        {"input": said({"type": "input_text", "text": "https://example.com/a.pdf input_file"})},
        {"input": said({"type": "input_image", "image_url": "https://example.com/a.png", "detail": "low"})},
        {"input": said({"type": "input_image", "image_url": SMALL_PNG})},
        {"input": said({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}})},
        {"tools": [{"type": "shell", "environment": {"type": "local", "skills": []}}, {"type": "function"}]},
    ],
)
def test_what_it_shows_does_not(fields):
    assert bound(**fields)[0].input_tokens < WINDOW // 2


@pytest.mark.parametrize("fields", [{"context_management": [{"type": "compaction", "compact_threshold": 1000}]},
                                    {"input": [{"type": "compaction_trigger"}]}])  # fmt: skip
def test_what_is_compacted_is_read_twice(fields):
    most, size = bound(**fields)
    assert 2 * size < most.input_tokens < 2 * size + 200
    assert bound(**{"input": "x" * 2 * WINDOW} | {"context_management": [{}]})[0].input_tokens == 2 * WINDOW


def test_a_previous_response_counts_what_it_used():
    most, size = bound(previous_response_id="resp_1", previous_tokens=5_000)
    assert size + 5_000 < most.input_tokens < size + 5_100


def test_an_image_counts_by_its_size_and_not_by_its_bytes():
    most, size = bound(input=said({"type": "input_image", "image_url": SMALL_PNG + "A" * 30_000}))
    assert size > 30_000
    assert most.input_tokens < 1_000


def test_a_tool_that_runs_upstream_counts_as_often_as_it_may_be_called():
    search = {"type": "web_search_preview_2025_03_11"}
    unstated, _ = bound(tools=[search, {"type": "code_interpreter"}, {"type": "function", "name": "f"}])
    assert (unstated.tool_calls, unstated.tool_input_tokens) == (8, 8 * 32_000)
    assert unstated.tool_kinds == {"web_search_call", "code_interpreter_call"}
    assert unstated.all_input_tokens == unstated.input_tokens + 256_000
    terms = Terms("m", WINDOW, tool_calls=3, tool_input_tokens=10)
    assert bound(terms, tools=[search])[0].tool_input_tokens == 30
    assert bound(terms, tools=[search], max_tool_calls=20)[0].tool_input_tokens == 200
    assert bound(terms, tools=[search], max_tool_calls=0)[0].tool_calls == 0


@pytest.mark.parametrize(
    ("tool", "kinds"),
    [
        ({"type": "function"}, set()), ({"type": "custom"}, set()), ({"type": "namespace", "tools": [{}]}, set()),
        ({"type": "local_shell"}, set()), ({"type": "apply_patch"}, set()), ({"type": "computer"}, set()),
        ({"type": "computer_use_preview"}, set()), ({"type": "tool_search", "execution": "client"}, set()),
        ({"type": "tool_search"}, {"tool_search_call"}), ({"type": "shell"}, {"shell_call"}),
        ({"type": "shell", "environment": {"type": "local"}}, set()), ({"type": "web_search"}, {"web_search_call"}),
        ({"type": "shell", "environment": {"type": "container_auto"}}, {"shell_call"}),
        (
            {"type": "code_interpreter", "container": {"type": "auto", "memory_limit": "16g"}},
            {"code_interpreter_call", "container_16g"},
        ),
        ({"type": "file_search"}, {"file_search_call"}), ({"type": "image_generation"}, {"image_generation_call"}),
        ({"type": "mcp"}, {"mcp_call"}), ({"type": "brought_next_month"}, {"brought_next_month_call"}),
    ],
)  # fmt: skip
def test_which_tools_run_upstream(tool, kinds):
    for fields in ({"tools": [tool]}, {"input": [{"type": "additional_tools", "tools": [tool]}]}):
        most, _ = bound(**fields)
        assert (most.tool_kinds, most.tool_calls) == (kinds, 8 if kinds else 0)


def test_tools_count_wherever_they_may_run():
    search = {"type": "web_search"}
    for fields in (
        {"tools": [{"type": "namespace", "tools": [{"type": "function"}, search]}]},
        {"input": [{"tools": [search]}]}, {"input": [{"type": "message", "role": "user", "tools": [search]}]},
    ):  # fmt: skip
        assert bound(**fields)[0].tool_kinds == {"web_search_call"}
    assert not bound(input=[{"type": "mcp_list_tools", "tools": [{"name": "f"}]}])[0].tool_kinds


@pytest.mark.parametrize("item", [{"type": "message", "role": "user"}, {}, {"type": "function_call_output"}])
@pytest.mark.parametrize("field", ["content", "output"])
def test_an_image_counts_wherever_a_reader_may_find_it(item, field):
    image = {"type": "input_image", "image_url": "https://example.com/a.png"}
    alone, listed = (bound(input=[{**item, field: parts}])[0].input_tokens for parts in (image, [image]))
    assert alone > 2_000
    assert abs(alone - listed) < 10


def test_a_stored_prompt_may_hold_any_tool():
    most, _ = bound(prompt={"id": "pmpt_1"})
    assert (most.tool_calls, most.tool_kinds) == (8, {"any"})


def test_a_count_settles_what_it_counts_and_nothing_else():
    address = {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "high"}
    most, _ = bound(input=said({"type": "input_text", "text": "x" * 20_000}, address))
    assert most.uncounted_tokens == 6_150  # 2,500 patches of 2.46: there may be another picture by then
    assert most.counted(9_000).input_tokens == 15_150
    assert most.counted(10**6) == most
    assert most.is_worth_counting
    assert not bound(tools=[{"type": "mcp"}])[0].is_worth_counting
    assert bound(input=said(FILE | {"file_id": "file-1"}))[0].counted(70).input_tokens == 70


NAMES = st.sampled_from(
    ["type", "content", "output", "outputs", "id", "input_image", "image_url", "url", "input_file", "file_id", "tools",
     "mcp", "shell", "environment", "skills", "result", "image_generation_call", "message", "detail", "file_url",
     "data:image/png;base64,iVBORw0KGgo", "additional_tools", "compaction_trigger", "namespace", "function"],
)  # fmt: skip
ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), NAMES),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(NAMES, inner, max_size=5)),
    max_leaves=20,
)
FIELDS = st.dictionaries(
    st.sampled_from(["input", "tools", "prompt", "context_management", "previous_response_id", "max_tool_calls"]),
    ANYTHING,
)


@given(FIELDS)
def test_any_request_has_a_bound(fields):
    body = json.dumps({"model": "m", **fields}).encode()
    try:
        call = parse_create(body)
    except InvalidRequest:
        return
    most = bound_of(call, len(body), TERMS)
    assert 0 < most.input_tokens <= 2 * WINDOW
    assert 0 <= most.uncounted_tokens <= most.input_tokens
    assert most.tool_input_tokens >= 0
