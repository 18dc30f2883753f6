import copy
import json
import random

import pytest

from tests.gateway.local.simulator.asking import CHINESE, asking

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(60)]

WEATHER = {"type": "object", "properties": {"unit": {"enum": ["C"]}, "days": {"type": "integer"}}, "required": ["unit"]}
BODY = {
    "model": "sim-reasoning.tool.search.custom",
    "input": [
        {"role": "user", "content": "before", "id": "msg_1"},
        {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": "{}", "id": "fc_1"},
        {"type": "function_call_output", "call_id": "call_1", "output": "sunny"},
        {"role": "user", "content": [{"type": "input_text", "text": CHINESE}]},
    ],
    "instructions": "be brief",
    "include": ["reasoning.encrypted_content"],
    "metadata": {"a": "b"},
    "reasoning": {"effort": "low"},
    "text": {"verbosity": "low"},
    "tools": [{"type": "function", "name": "weather", "parameters": WEATHER}, {"type": "custom", "name": "shell"}],
    "tool_choice": {"type": "function", "name": "weather"},
    "stream_options": {"include_obfuscation": False},
    "prompt_cache_key": "key",
    "service_tier": "auto",
    "max_output_tokens": 100,
}
VALUES = [None, 0, -1, 2**70, 1.5, True, "", "text", [], [1], [None], {}, {"id": 1}, [{"id": []}], ["a", {}]]


def places_of(value, path=()):
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places_of(inner, (*path, key))


def changed(choice):
    body = copy.deepcopy(BODY)
    *way, last = choice.choice([path for path in places_of(body) if path])
    parent = body
    for key in way:
        parent = parent[key]
    parent[last] = choice.choice(VALUES)
    return body


@pytest.mark.parametrize("path", ["/responses", "/responses/compact"])
async def test_a_body_of_any_form_is_answered_or_refused(client, path):
    choice, statuses = random.Random(path), set()
    for _ in range(200):
        body = changed(choice)
        answer = await client.post(path, json=body)
        statuses.add(answer.status_code)
        assert answer.status_code in {200, 400, 404}, json.dumps(body)
    assert {200, 400} <= statuses


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"input": 5}, "invalid_type", "input"),
        ({"input": ["x"]}, "invalid_type", "input[0]"),
        ({"input": [{"role": "user", "content": {}}]}, "invalid_type", "input[0].content"),
        ({"tools": "weather"}, "invalid_type", "tools"),
        ({"tools": [{"type": "function"}]}, "missing_required_parameter", "tools[0].name"),
        ({"tools": [{"type": "function", "name": "f", "parameters": {"required": [[]]}}]},
         "invalid_function_parameters", "tools[0].parameters"),
        ({"max_output_tokens": "many"}, "invalid_type", "max_output_tokens"),
        ({"store": "no"}, "invalid_type", "store"),
        ({"previous_response_id": ["resp_1"]}, "invalid_type", "previous_response_id"),
    ],
)  # fmt: skip
async def test_a_field_of_another_kind_is_named(client, change, code, param):
    refused = await client.post("/responses", json=asking("gpt-4.1") | change)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["param"]) == (400, code, param)
