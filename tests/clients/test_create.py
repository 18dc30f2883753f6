"""POST /v1/responses as the official SDK sends it, plain and streamed."""

import pytest

from tests.clients.sdk import done, every, final_of

ASKED_AND_SAID = [
    ("Tell me a story", "You said: Tell me a story"),
    ("你好啊", "You said: 你好啊"),
    ([{"role": "user", "content": "你好啊，今天天气怎么样？"}], "You said: 你好啊，今天天气怎么样？"),
]
TOOL = {
    "type": "function",
    "name": "get_weather",
    "strict": False,
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}


@pytest.mark.parametrize(("asked", "said"), ASKED_AND_SAID)
async def test_a_plain_answer_is_parsed_whole(responses, asked, said):
    answer = await done(responses.create(model="gpt-4.1", input=asked, metadata={"trace": "t-1"}))
    assert "".join(part.text for item in answer.output for part in item.content) == said
    assert (answer.status, answer.model, answer.metadata) == ("completed", "gpt-4.1-2025-04-14", {"trace": "t-1"})
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens > 0
    assert answer._request_id


@pytest.mark.parametrize(("asked", "said"), ASKED_AND_SAID)
async def test_a_stream_is_parsed_event_by_event(responses, asked, said):
    events = await every(await done(responses.create(model="gpt-4.1", input=asked, stream=True)))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == said
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[-1].type == "response.completed"
    assert events[-1].response.id == events[0].response.id
    assert events[-1].response.usage.output_tokens > 0


async def test_the_stream_helper_ends_with_the_final_response(sdk):
    kinds, final = await final_of(sdk.responses.stream(model="gpt-4.1", input="Hello"))
    assert kinds[-1] == "response.completed"
    assert final.output_text == "You said: Hello"


async def test_a_tool_loop_ends_with_text(responses):
    asked = [{"role": "user", "content": "Weather?"}]
    first = await done(responses.create(model="sim-tool", input=asked, tools=[TOOL], store=False))
    call = first.output[-1]
    assert (call.type, call.name) == ("function_call", "get_weather")
    told = {"type": "function_call_output", "call_id": call.call_id, "output": "21 degrees"}
    replayed = [*asked, call.model_dump(exclude_none=True), told]
    second = await done(responses.create(model="sim-tool", input=replayed, tools=[TOOL], store=False))
    assert second.output[-1].content[0].text == "The tool said: 21 degrees"


async def test_a_streamed_tool_call_is_put_together(sdk):
    asked = {"model": "sim-tool-2", "input": "Weather?", "tools": [TOOL]}
    kinds, final = await final_of(sdk.responses.stream(**asked))
    assert "response.function_call_arguments.delta" in kinds
    assert [item.name for item in final.output] == ["get_weather", "get_weather"]
    assert len({item.call_id for item in final.output}) == 2


async def test_an_answer_cut_at_its_limit_says_so(responses):
    answer = await done(responses.create(model="sim-paced-40-0", input="Go on", max_output_tokens=16))
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert answer.usage.output_tokens == 16


async def test_reasoning_comes_encrypted_where_it_is_asked_for(responses):
    asked = {"model": "sim-reasoning", "input": "Think", "store": False, "include": ["reasoning.encrypted_content"]}
    answer = await done(responses.create(**asked))
    reasoning = answer.output[0]
    assert (reasoning.type, bool(reasoning.encrypted_content)) == ("reasoning", True)
    assert answer.usage.output_tokens_details.reasoning_tokens == 64
    replayed = [reasoning.model_dump(exclude_none=True), {"role": "user", "content": "And now?"}]
    again = await done(responses.create(**asked | {"input": replayed}))
    assert again.status == "completed"


async def test_the_raw_answer_carries_no_header_of_the_upstreams_account(sdk, place):
    raw = await done(sdk.responses.with_raw_response.create(model="gpt-4.1", input="hi"))
    assert (await done(raw.parse())).output_text == "You said: hi"
    assert raw.headers["x-request-id"]
    shared = {"set-cookie", "openai-organization", "openai-project", "cf-ray", "server"} & set(raw.headers)
    assert place.is_gateway <= (not shared)
