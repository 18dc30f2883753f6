import json

import pytest

from gateway.local.simulator.usages import SHAPES
from tests.gateway.local.simulator.asking import ECHO, ECHO_TOKENS, asking, events_in, stream

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(30)]


async def test_a_search_is_billed_by_requests_and_turns(client):
    ended = (await stream(client, "sim-search-2"))[-1]["response"]
    actions = [item["action"]["type"] for item in ended["output"] if item["type"] == "web_search_call"]
    assert actions == ["search", "search", "open_page"]
    assert ended["tool_usage"]["web_search"]["num_requests"] == 2
    assert ended["usage"]["input_tokens"] == 4 + 2 * 8000


async def test_encrypted_reasoning_comes_when_it_is_included(client):
    (item, *_) = (await stream(client, "sim-reasoning", include=["reasoning.encrypted_content"]))[-1]["response"][
        "output"
    ]
    assert item["encrypted_content"].startswith("gAAAAA")
    assert item["summary"][0]["text"]


USAGES = {
    "absent": "no key",
    "null": None,
    "zero": (0, 0, 0),
    "negative": (-4, -8, -12),
    "absurd": (10**15 + 4, 10**15 + 8, 10**15 + 12),
    "strings": ("4", "8", "12"),
    "floats": (4.0, 8.0, 12.0),
    "words": ("many", "many", "many"),
    "short": (4, 8, None),
    "chat": (None, None, 12),
    "both": (4, 8, 12),
    "wrongtotal": (4, 8, 19),
    "more": (4, 8, 12),
    "1000-200-100-50-20": (1000, 50, 1050),
}


@pytest.mark.parametrize("shape", USAGES)
async def test_usage_has_the_shape_that_was_asked(simulator, client, shape):
    events = await stream(client, f"sim-usage-{shape}")
    streamed = events[-1]["response"].get("usage", "no key")
    plain = (await client.post("/responses", json=asking(f"sim-usage-{shape}"))).json().get("usage", "no key")
    logged = [entry.get("usage", "no key") for entry in simulator.log.ended()]
    assert logged == [streamed, plain]
    assert streamed == plain
    if isinstance(plain, dict):
        plain = (plain.get("input_tokens"), plain.get("output_tokens"), plain.get("total_tokens"))
    assert plain == USAGES[shape]


async def test_every_shape_of_usage_is_tested():
    assert set(SHAPES) <= set(USAGES)


async def test_chat_form_adds_the_chat_keys(client):
    both = (await client.post("/responses", json=asking("sim-usage-both"))).json()["usage"]
    chat = (await client.post("/responses", json=asking("sim-usage-chat"))).json()["usage"]
    assert (chat["prompt_tokens"], chat["completion_tokens"]) == (4, 8)
    assert both == both | chat
    assert "input_tokens" not in chat


async def test_a_chat_answer_has_no_responses_event(client):
    body = (await client.post("/responses", json=asking("sim-chat"))).json()
    assert body["object"] == "chat.completion"
    assert body["choices"][0]["message"] == {"role": "assistant", "content": ECHO, "refusal": None, "annotations": []}
    assert body["usage"]["completion_tokens"] == len(ECHO_TOKENS)
    answer = await client.post("/responses", json=asking("sim-chat", stream=True))
    assert b"event:" not in answer.content
    assert answer.content.endswith(b"data: [DONE]\n\n")
    chunks = [json.loads(data) for _, data in events_in(answer.content)[:-1]]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"]) == ECHO
    assert chunks[-1]["usage"] == body["usage"]
