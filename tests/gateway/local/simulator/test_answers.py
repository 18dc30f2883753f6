import json
import re
from typing import get_args

import httpx
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from gateway.local.simulator.identity import ORGANIZATION, PROJECT
from tests.gateway.local.simulator.asking import CHINESE, ECHO, ECHO_TOKENS, TLS, asking, events_in, said, stream

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(30)]

EVENT = TypeAdapter(ResponseStreamEvent)


async def test_a_plain_answer_is_a_full_response_object(client):
    answer = (
        await client.post("/responses", json=asking("gpt-4.1", instructions="be brief", metadata={"a": "b"}))
    ).json()
    Response.model_validate(answer)
    assert re.fullmatch(r"resp_[0-9a-f]{48}", answer["id"])
    assert re.fullmatch(r"msg_[0-9a-f]{48}", answer["output"][0]["id"])
    assert answer["output"][0]["content"][0]["text"] == ECHO
    assert (answer["instructions"], answer["metadata"], answer["store"]) == ("be brief", {"a": "b"}, True)
    assert answer["model"] == "gpt-4.1-2025-04-14"


@pytest.mark.parametrize(
    "model",
    [
        *("gpt-4.1", "sim-paced-3-1", "sim-big-4", "sim-reasoning-9", "sim-tool", "sim-tool-2", "sim-search-2"),
        *(
            "sim-refusal",
            "sim-audio",
            "sim-annotations",
            "sim-thinking-7",
            "sim-custom",
            "sim-filesearch",
            "sim-code-2",
        ),
        *("sim-image-3-1", "sim-mcp", "sim-mcpfail", "sim-shell", "sim-compaction", "sim-everything", "sim-fail-leak"),
        *("sim-reasoning.tool", "sim-fail-flat", "sim-fail-plain", "sim-fail-usage", "sim-twice", "sim-usage-null"),
    ],
)
async def test_every_event_is_one_the_sdk_knows(client, model):
    answer = await client.post("/responses", json=asking(model, stream=True))
    names_and_data = events_in(answer.content)
    events = [json.loads(data) for _, data in names_and_data]
    for event in events:
        EVENT.validate_python(event)
    assert [name for name, _ in names_and_data] == [event["type"] for event in events]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]


async def test_every_event_type_of_the_sdk_has_a_scenario(client):
    union = get_args(get_args(ResponseStreamEvent)[0])
    known = {kind for event in union for kind in get_args(event.model_fields["type"].annotation)}
    events = [
        event
        for model, limit in (("sim-everything.queued", 2000), ("sim-fail-flat", None), ("gpt-4.1", 16))
        for event in await stream(client, model, input="word " * 40, max_output_tokens=limit)
    ]
    for event in events:
        EVENT.validate_python(event)
    assert known == {event["type"] for event in events}


async def test_what_some_upstreams_add_comes_when_asked_for(client):
    events = await stream(client, "sim-responsedone.keepalive")
    assert [event["type"] for event in events[-4:]] == [
        "keepalive", "response.completed", "keepalive", "response.done",
    ]  # fmt: skip
    assert events[-1]["response"] == events[-3]["response"]


async def test_no_more_is_said_of_everything_than_the_limit_allows(client):
    for limit in range(16, 160, 9):
        ended = (await stream(client, "sim-everything", max_output_tokens=limit))[-1]["response"]
        assert ended["status"] in {"incomplete", "completed"}
        assert ended["usage"]["output_tokens"] <= limit


async def test_the_streamed_response_is_the_sum_of_its_events(client):
    events = await stream(client, "sim-reasoning-5.tool.search")
    items = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert events[-1]["response"]["output"] == items
    assert [item["type"] for item in items] == [
        "reasoning", "message", "function_call", "web_search_call", "web_search_call", "message"
    ]  # fmt: skip


async def test_usage_can_be_computed_by_hand(client):
    body = asking("sim-reasoning-10", input=[{"role": "user", "content": [{"type": "input_text", "text": CHINESE}]}])
    usage = (await client.post("/responses", json=body | {"instructions": "123456"})).json()["usage"]
    assert usage == {
        "input_tokens": 6,  # 15 bytes of the text and 6 of the instructions, over 4, rounded up
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 10 + len(ECHO_TOKENS),
        "output_tokens_details": {"reasoning_tokens": 10},
        "total_tokens": 6 + 10 + len(ECHO_TOKENS),
    }


async def test_input_tokens_are_counted_as_they_are_billed(client):
    counted = await client.post("/responses/input_tokens", json={"model": "gpt-4.1", "input": CHINESE})
    assert counted.json() == {"object": "response.input_tokens", "input_tokens": 4}


async def test_a_count_takes_no_more_fields_than_the_real_one(client):
    refused = await client.post("/responses/input_tokens", json=asking("gpt-4.1", stream=True))
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "unknown_parameter")


async def test_obfuscation_can_be_turned_off(client):
    deltas = [event for event in await stream(client, "gpt-4.1") if "delta" in event]
    assert all(len(event["delta"] + event["obfuscation"]) % 16 == 0 for event in deltas)
    plain = await stream(client, "gpt-4.1", stream_options={"include_obfuscation": False})
    assert not any("obfuscation" in event for event in plain)


@pytest.mark.parametrize(
    ("model", "asked", "served"),
    [
        ("gpt-5", None, "default"),
        ("gpt-5", "flex", "flex"),
        ("gpt-5", "fast", "priority"),
        ("sim-tier-default", "flex", "default"),
    ],
)
async def test_the_served_tier_stands_in_the_terminal_event_only(client, model, asked, served):
    events = await stream(client, model, service_tier=asked)
    assert events[0]["response"]["service_tier"] == (asked or "auto")
    assert events[-1]["response"]["service_tier"] == served


async def test_a_limit_on_output_makes_the_answer_incomplete(client):
    events = await stream(client, "sim-paced-40-0", max_output_tokens=16)
    ended = events[-1]["response"]
    assert events[-1]["type"] == "response.incomplete"
    assert ended["incomplete_details"] == {"reason": "max_output_tokens"}
    assert ended["usage"]["output_tokens"] == 16
    assert ended["output"][0]["status"] == "incomplete"
    assert said(events) == (ECHO * 2)


async def test_reasoning_alone_may_use_up_the_limit(client):
    events = await stream(client, "sim-reasoning-500", max_output_tokens=20)
    assert events[-1]["type"] == "response.incomplete"
    assert events[-1]["response"]["usage"]["output_tokens"] == 20
    assert said(events) == ""


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"max_output_tokens": 15}, "integer_below_min_value", "max_output_tokens"),
        ({"temperature": -1}, "decimal_below_min_value", "temperature"),
        ({"model": None}, "missing_required_parameter", "model"),
        ({"input": None}, "missing_required_parameter", "input"),
        ({"previous_response_id": "resp_x"}, "previous_response_not_found", "previous_response_id"),
    ],
)
async def test_bad_parameters_are_refused_as_openai_does(client, change, code, param):
    answer = await client.post("/responses", json=asking("gpt-4.1") | change)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, code, param)


async def test_a_body_that_is_no_json_is_refused(client):
    answer = await client.post("/responses", content=b'{"model":')
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, None)


@pytest.mark.parametrize(
    "model", ["llama-3", "sim-nonsense", "sim-paced-many", "sim-cut-gently", "sim-", "sim-usage-9"]
)
async def test_unknown_models_and_scenarios_are_not_found(client, model):
    answer = await client.post("/responses", json=asking(model))
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


async def test_models_are_listed_and_shown(client):
    listed = (await client.get("/models")).json()
    assert listed["object"] == "list"
    assert {"gpt-4.1", "o3-pro", "codex-mini-latest"} <= {model["id"] for model in listed["data"]}
    for model in listed["data"]:
        assert (await client.get(f"/models/{model['id']}")).json() == model
    assert (await client.get("/models/llama")).status_code == 404


async def test_a_query_changes_nothing_and_other_paths_are_unknown(client):
    assert (await client.post("/responses?beta=true", json=asking("gpt-4.1"))).status_code == 200
    unknown = await client.post("/images", json={})
    assert unknown.status_code == 404
    assert unknown.json()["error"]["message"] == "Invalid URL (POST /v1/images)"
    assert (await client.get("/responses/resp_1")).json()["error"]["message"] == "Response with id 'resp_1' not found."


async def test_the_key_is_checked(simulator):
    async with httpx.AsyncClient(verify=TLS, base_url=simulator.url) as http:
        missing = await http.post("/responses", json=asking("gpt-4.1"))
        wrong = await http.get("/models", headers={"authorization": "Bearer sk-wrong-key-000000"})
    assert (missing.status_code, missing.headers["www-authenticate"]) == (401, "Bearer")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize("model", ["gpt-4.1", "sim-status-500"])
async def test_answers_carry_the_headers_that_a_gateway_must_strip(client, model):
    headers = (await client.post("/responses", json=asking(model))).headers
    assert re.fullmatch(r"req_[0-9a-f]{32}", headers["x-request-id"])
    assert headers["openai-organization"] == ORGANIZATION
    assert headers["openai-project"] == PROJECT
    assert headers["set-cookie"].startswith("__cf_bm=")
    for name in (
        "openai-processing-ms",
        "openai-version",
        "x-ratelimit-remaining-tokens",
        "cf-ray",
        "alt-svc",
        "server",
    ):
        assert headers[name]
