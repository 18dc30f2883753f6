import json

import pytest
from openai import APIError

from tests.gateway.local.simulator.asking import CHINESE, ECHO

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(30)]


@pytest.mark.parametrize(
    "given",
    [
        CHINESE,
        [{"role": "user", "content": CHINESE}],
        [{"role": "user", "content": "before"}, {"role": "user", "content": [{"type": "input_text", "text": CHINESE}]}],
    ],
)
async def test_the_sdk_reads_plain_and_streamed_answers(sdk, given):
    plain = await sdk.responses.create(model="gpt-4.1", input=given)
    assert plain.output_text == ECHO
    async with sdk.responses.stream(model="gpt-4.1", input=given) as streamed:
        assert "".join([event.delta async for event in streamed if event.type == "response.output_text.delta"]) == ECHO
        final = await streamed.get_final_response()
    assert (final.output_text, final.usage) == (ECHO, plain.usage)


@pytest.mark.parametrize(("model", "choice"), [("sim-tool", "auto"), ("gpt-4.1", "required")])
async def test_the_sdk_can_run_a_tool_loop_to_its_end(sdk, model, choice):
    parameters = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"enum": ["C", "F"]}, "days": {"type": "integer"}},
        "required": ["city", "unit", "days"],
        "additionalProperties": False,
    }
    tools = [{"type": "function", "name": "weather", "parameters": parameters, "strict": True}]
    asked = [{"role": "user", "content": CHINESE}]
    async with sdk.responses.stream(model=model, input=asked, tools=tools, tool_choice=choice) as streamed:
        first = await streamed.get_final_response()
    (call,) = first.output
    assert (call.name, json.loads(call.arguments)) == ("weather", {"city": CHINESE, "unit": "C", "days": 1})
    answered = {"type": "function_call_output", "call_id": call.call_id, "output": "晴"}
    asked += [call.to_dict(), answered]
    second = await sdk.responses.create(model=model, input=asked, tools=tools, tool_choice=choice)
    assert second.output_text == "The tool said: 晴"


async def test_the_sdk_raises_the_nested_error(sdk):
    with pytest.raises(APIError, match="The server had an error"):
        async for _ in await sdk.responses.create(model="sim-fail-nested", input="x", stream=True):
            pass
