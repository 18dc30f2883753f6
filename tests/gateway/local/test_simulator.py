import asyncio
import contextlib
import gzip
import hashlib
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import get_args

import httpx
import pytest
import pytest_asyncio
from openai import APIError, AsyncOpenAI
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from gateway.local.simulator import Simulator
from gateway.local.simulator.identity import ORGANIZATION, PROJECT
from gateway.local.simulator.log import Log
from gateway.local.simulator.scenarios import DIRECTIVES
from gateway.local.simulator.sent import KEPT_BODIES, Sent
from gateway.local.simulator.usages import SHAPES

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(30)]

ROOT = Path(__file__).parents[3]
TLS = ssl.create_default_context()  # unused, and dear to make anew for every client
EVENT = TypeAdapter(ResponseStreamEvent)
KEY = "sk-upstream-secret-0123456789"
CHINESE = "你好啊 world"
ECHO = f"You said: {CHINESE}"
ECHO_TOKENS = ["You", " said", ":", " ", "你", "好", "啊", " world"]


@pytest_asyncio.fixture
async def simulator():
    async with Simulator(key=KEY) as running:
        yield running


@pytest_asyncio.fixture
async def client(simulator):
    async with httpx.AsyncClient(
        verify=TLS, base_url=simulator.url, headers={"authorization": f"Bearer {KEY}"}
    ) as http:
        yield http


@pytest_asyncio.fixture
async def sdk(simulator):
    http = httpx.AsyncClient(verify=TLS)
    async with AsyncOpenAI(base_url=simulator.url, api_key=KEY, max_retries=0, http_client=http) as openai:
        yield openai


def asking(model, stream=False, **more):
    return {"model": model, "input": CHINESE, "stream": stream, **more}


def events_in(body):
    """What a reader that follows the SSE standard makes of the bytes: (event line, data) pairs."""
    text = body.decode().removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    frames = [frame for frame in text.split("\n\n") if frame.strip()]
    read = []
    for frame in frames:
        lines = [line for line in frame.strip("\n").split("\n") if not line.startswith(":")]
        names = [line[6:].strip() for line in lines if line.startswith("event:")]
        data = "\n".join(line[5:].removeprefix(" ") for line in lines if line.startswith("data:"))
        if data:
            read.append((names[0] if names else None, data))
    return read


async def stream(client, model, **more):
    answer = await client.post("/responses", json=asking(model, stream=True) | more)
    assert answer.status_code == 200, answer.text
    return [json.loads(data) for _, data in events_in(answer.content) if data != "[DONE]"]


def said(events):
    return "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")


async def leave_after(simulator, client, model, number_of_events, name):
    async with client.stream(
        "POST", "/responses", json=asking(model, stream=True), headers={"x-client-request-id": name}
    ) as answer:
        seen = 0
        async for line in answer.aiter_lines():
            seen += line.startswith("data:")
            if seen == number_of_events:
                break
    return await simulator.log.wait_for(lambda entry: entry["kind"] == "ended" and entry["client_request_id"] == name)


# The ordinary answer


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


# The official SDK


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


# Tools, usage and forms


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


# How it is written


@pytest.mark.parametrize(
    "framing",
    [
        *("crlf", "cr", "dataonly", "nospace", "multiline", "bom", "comments", "blanks", "done", "bytes", "pieces-3"),
        *("joined", "whole", "split", "noblank", "gzip", "done.noblank.crlf"),
    ],
)
async def test_odd_framing_still_says_the_same(client, framing):
    events = await stream(client, f"sim-{framing}")
    assert said(events) == ECHO
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == ECHO


async def test_framing_is_what_its_name_says(client):
    async def sent(scenario):
        return (await client.post("/responses", json=asking(f"sim-{scenario}", stream=True))).content

    assert (await sent("bom")).startswith(b"\xef\xbb\xbfevent: response.created\n")
    assert b"\n" not in await sent("cr")
    assert b"\n" not in (await sent("crlf")).replace(b"\r\n", b"")
    assert b"event" not in (await sent("dataonly")).split(b"data:")[0]
    assert b"event:response.created\ndata:{" in await sent("nospace")
    assert re.search(rb"\ndata: \{\ndata:  \"type\"", await sent("multiline"))
    assert (await sent("comments")).startswith(b": keepalive\n\nevent: ")
    assert (await sent("done")).endswith(b"}\n\ndata: [DONE]\n\n")
    assert re.search(rb"}\n\Z", await sent("noblank"))
    assert not (await sent("noblank")).endswith(b"\n\n")
    assert (await sent("done.noblank")).endswith(b"data: [DONE]\n")


async def test_chunks_are_cut_as_asked(client):
    async def chunks(scenario):
        async with client.stream("POST", "/responses", json=asking(f"sim-{scenario}", stream=True)) as answer:
            return [chunk async for chunk in answer.aiter_raw()]

    assert {len(chunk) for chunk in await chunks("bytes")} == {1}
    pieces = [len(chunk) for chunk in await chunks("pieces-5")]
    assert max(pieces) <= 60
    assert len(set(pieces)) > 10
    assert len(await chunks("joined")) == 2
    assert all(chunk.endswith(b"\n\n") for chunk in await chunks("ok"))


async def test_a_big_event_comes_whole(client):
    events = await stream(client, "sim-big-300")
    assert len(said(events)) == 300 * 1024


async def test_compression_is_sent_though_it_was_not_asked(client, simulator):
    headers = {"accept-encoding": "identity", "x-client-request-id": "zipped"}
    answer = await client.post("/responses", json=asking("sim-gzip", stream=True), headers=headers)
    assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(simulator.sent.find("zipped")) == answer.content


async def test_keepalive_events_are_numbered_with_the_others(client):
    events = await stream(client, "sim-keepalive")
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events].count("keepalive") == (len(events) - 1) // 2


async def test_another_model_may_answer(client):
    assert (await stream(client, "sim-othermodel"))[-1]["response"]["model"] == "gpt-4o-mini-2024-07-18"


# Errors and cuts


@pytest.mark.parametrize(
    ("scenario", "status", "headers", "names_account"),
    [
        ("status-500", 500, {}, True),
        ("status-503-7", 503, {"retry-after": "7"}, True),
        ("html-502", 502, {"content-type": "text/html; charset=UTF-8"}, False),
        ("garbage", 200, {"content-type": "application/json"}, False),
        ("ratelimited-3", 429, {"retry-after": "3", "retry-after-ms": "3000"}, True),
        ("quota", 429, {}, True),
        ("unauthorized", 401, {}, True),
        ("forbidden", 403, {}, True),
    ],
)
async def test_errors_before_the_stream(client, scenario, status, headers, names_account):
    answer = await client.post("/responses", json=asking(f"sim-{scenario}", stream=True))
    assert answer.status_code == status
    assert headers.items() <= dict(answer.headers).items()
    assert (ORGANIZATION in answer.text) == names_account
    assert (KEY in answer.text) == (scenario in {"quota", "unauthorized", "forbidden"})


@pytest.mark.parametrize(
    ("form", "last"),
    [
        ("nested", ["error", "response.failed"]),
        ("flat", ["error", "response.failed"]),
        ("quota", ["error", "response.failed"]),
        ("plain", ["response.failed"]),
        ("usage", ["response.failed"]),
        ("error", ["error"]),
        ("silent", []),
    ],
)
async def test_failures_inside_a_stream(client, form, last):
    events = await stream(client, f"sim-fail-{form}-6")
    assert [event["type"] for event in events[6:]] == last
    assert [event["sequence_number"] for event in events] == list(range(6 + len(last)))
    if form in {"nested", "quota"}:
        assert "message" in events[6]["error"]
    if form == "flat":
        assert "message" in events[6]
    if "response.failed" in last:
        usage = events[-1]["response"]["usage"]
        assert (usage["output_tokens"] if usage else None) == (2 if form == "usage" else None)
    assert (KEY in json.dumps(events)) == (form == "quota")


async def ask_raw(simulator, model, is_streamed=True):
    """Everything that comes over a plain socket, and how it ended. (A StreamReader drops what it has at a reset.)"""
    loop = asyncio.get_running_loop()
    body = json.dumps(asking(model, stream=is_streamed)).encode()
    head = (
        f"POST /v1/responses HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    received = b""
    with socket.create_connection(("127.0.0.1", int(simulator.origin.rsplit(":", 1)[1]))) as connection:
        connection.setblocking(False)
        await loop.sock_sendall(connection, head.encode() + body)
        try:
            while piece := await asyncio.wait_for(loop.sock_recv(connection, 65536), 0.3):
                received += piece
        except ConnectionResetError:
            return received, "reset"
        except TimeoutError:
            return received, "silence"
    return received, "fin"


@pytest.mark.parametrize(
    ("way", "ending", "tail"),
    [
        ("reset", "reset", rb'response.output_text.delta","sequence_number":4,.*\n\n\r\n'),
        ("close", "fin", rb'response.output_text.delta","sequence_number":4,.*\n\n\r\n'),
        ("stall", "silence", rb'response.output_text.delta","sequence_number":4,.*\n\n\r\n'),
        ("half", "fin", rb'event: response.output_text.delta\ndata: {"type":"[^}\n]*\r\n'),
        ("badjson", "fin", rb'data: {"type":"response.output_text.delta","delta":\n\n\r\n'),
        ("error", "fin", rb'data: {"type":"error",.*}}\n\n\r\n'),
    ],
)
async def test_a_stream_dies_at_the_named_event(simulator, way, ending, tail):
    received, ended = await ask_raw(simulator, f"sim-cut-{way}-5")
    assert ended == ending
    assert re.search(tail + rb"\Z", received)
    assert b"\r\n0\r\n" not in received
    entry = await simulator.log.wait_for(lambda entry: entry["kind"] == "ended")
    assert (entry["ending"], entry["events"]) == ("cut", 6 if way == "error" else 5)
    assert "usage" not in entry


async def test_a_reset_takes_back_nothing_that_was_sent(simulator):
    received, ending = await ask_raw(simulator, "sim-big-4096.cut-reset-5")
    assert ending == "reset"
    assert len(received) > 4096 * 1024


@pytest.mark.parametrize(("way", "ending"), [("reset", "reset"), ("close", "fin"), ("stall", "silence")])
@pytest.mark.parametrize("is_streamed", [True, False])
async def test_an_upstream_may_die_without_any_answer(simulator, way, ending, is_streamed):
    assert await ask_raw(simulator, f"sim-noanswer-{way}", is_streamed) == (b"", ending)


async def test_a_plain_answer_dies_in_its_middle(simulator):
    received, ending = await ask_raw(simulator, "sim-cut-close", is_streamed=False)
    head, _, body = received.partition(b"\r\n\r\n")
    length = int(re.search(rb"content-length: (\d+)", head)[1])
    assert (ending, len(body)) == ("fin", length // 2)


# Leaving, holding, the log


async def test_generation_stops_when_the_client_leaves(simulator, client):
    entry = await leave_after(simulator, client, "sim-paced-10000-1", 8, "left")
    assert entry["ending"] == "client_gone"
    assert 8 <= entry["events"] < 1000
    assert "usage" not in entry


async def test_a_client_that_reads_slowly_holds_generation_back(simulator):
    reader, writer = await asyncio.open_connection("127.0.0.1", int(simulator.origin.rsplit(":", 1)[1]), limit=1024)
    body = json.dumps(asking("sim-big-8192", stream=True)).encode()
    writer.write(b"POST /v1/responses HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\n" % KEY.encode())
    writer.write(b"content-length: %d\r\n\r\n%b" % (len(body), body))
    await reader.readexactly(100_000)
    writer.transport.abort()
    entry = await simulator.log.wait_for(lambda entry: entry["kind"] == "ended")
    assert entry["ending"] == "client_gone"
    assert entry["events"] < 9


async def test_held_answers_go_on_when_released(simulator, client):
    answers = [
        asyncio.create_task(
            client.post("/responses", json=asking("sim-hold", stream=True), headers={"x-client-request-id": name})
        )
        for name in ("one", "two", "three")
    ]
    await simulator.holds.until(3)
    admin = f"{simulator.origin}/simulator"
    held = (await client.get(f"{admin}/held")).json()
    assert held["held"] == 3
    assert {"one", "two", "three"} <= {name for names in held["names"] for name in names}
    assert (await client.post(f"{admin}/release/two")).json() == {"released": 1}
    await answers[1]
    await simulator.holds.until(2)
    assert not answers[0].done()
    assert (await client.post(f"{admin}/release")).json() == {"released": 2}
    for answer in await asyncio.gather(*answers):
        assert said([json.loads(data) for _, data in events_in(answer.content)]) == ECHO


async def test_a_hold_ends_with_its_time_or_its_client(simulator, client):
    assert (await client.post("/responses", json=asking("sim-hold-10"))).status_code == 200
    entry = await leave_after(simulator, client, "sim-hold-0-3", 3, "gone")
    assert (entry["ending"], entry["events"]) == ("client_gone", 3)
    await simulator.holds.until(0)


async def test_the_log_tells_what_was_asked_and_what_was_sent(simulator, client):
    body = json.dumps(asking("gpt-4.1", stream=True)).encode()
    answer = await client.post("/responses?beta=true", content=body, headers={"x-client-request-id": "mine"})
    arrived, ended = simulator.log.entries
    assert arrived["kind"] == "arrived"
    assert (arrived["client_request_id"], arrived["query"]) == ("mine", "beta=true")
    assert (arrived["model"], arrived["stream"]) == ("gpt-4.1", True)
    assert arrived["body_sha256"] == hashlib.sha256(body).hexdigest()
    assert arrived["headers"]["authorization"] == "sha256:" + hashlib.sha256(f"Bearer {KEY}".encode()).hexdigest()
    events = [json.loads(data) for _, data in events_in(answer.content)]
    assert (ended["number"], ended["ending"], ended["status"]) == (arrived["number"], "completed", 200)
    assert (ended["events"], ended["deltas"]) == (len(events), len(ECHO_TOKENS))
    assert ended["response_id"] == events[0]["response"]["id"]
    assert ended["usage"] == events[-1]["response"]["usage"]
    assert ended["body_sha256"] == hashlib.sha256(answer.content).hexdigest()


async def test_the_exact_bytes_can_be_fetched_afterwards(simulator, client):
    answer = await client.post(
        "/responses", json=asking("sim-pieces", stream=True), headers={"x-client-request-id": "a"}
    )
    response_id = simulator.log.ended()[-1]["response_id"]
    for name in ("a", response_id):
        assert (await client.get(f"{simulator.origin}/simulator/sent/{name}")).content == answer.content
    assert (await client.get(f"{simulator.origin}/simulator/sent/unknown")).status_code == 404


@pytest.mark.parametrize("model", ["sim-ok", "sim-fail-usage", "sim-usage-null", "sim-search-1"])
@pytest.mark.parametrize("is_streamed", [False, True])
async def test_a_response_can_be_asked_for_once_it_has_ended(simulator, client, model, is_streamed):
    await client.post("/responses", json=asking(model, stream=is_streamed))
    entry = simulator.log.ended()[-1]
    stored = (await client.get(f"/responses/{entry['response_id']}")).json()
    assert (stored["id"], stored["object"]) == (entry["response_id"], "response")
    assert stored["status"] == ("failed" if "fail" in model else "completed")
    assert stored["usage"] == entry["usage"]


async def test_of_two_ends_the_first_is_kept(simulator, client):
    await client.post("/responses", json=asking("sim-twice", stream=True))
    stored = await client.get(f"/responses/{simulator.log.ended()[-1]['response_id']}")
    assert stored.json()["usage"]["output_tokens"] == len(ECHO_TOKENS)


async def test_a_response_is_in_progress_while_it_is_made_and_gone_with_its_client(simulator, client):
    async with client.stream("POST", "/responses", json=asking("sim-hold", stream=True)):
        await simulator.holds.until(1)
        ((response_id,),) = simulator.holds.names()
        stored = (await client.get(f"/responses/{response_id}")).json()
        assert (stored["id"], stored["status"], stored["usage"]) == (response_id, "in_progress", None)
    await simulator.holds.until(0)
    await simulator.log.wait_for(lambda entry: entry.get("ending") == "client_gone")
    assert (await client.get(f"/responses/{response_id}")).status_code == 404


@pytest.mark.parametrize("asked", [{"store": False}, {"model": "sim-cut-close-7"}, {"model": "sim-fail-silent"}])
async def test_what_is_not_stored_or_never_ended_is_not_found(simulator, client, asked):
    with contextlib.suppress(httpx.TransportError):
        await client.post("/responses", json=asking("sim-ok", stream=True) | asked)
    entry = await simulator.log.wait_for(lambda entry: entry["kind"] == "ended")
    answer = await client.get(f"/responses/{entry['response_id']}")
    assert (answer.status_code, "not found" in answer.json()["error"]["message"]) == (404, True)


async def test_the_bodies_kept_are_bounded():
    sent = Sent()
    for number in range(KEPT_BODIES + 1):
        sent.keep(number, b"x", [f"name-{number}", "last"])
    assert sent.find("name-0") is None
    assert sent.find("name-1") == b"x"
    sent.keep(-1, bytes(80 * 1024 * 1024), ["huge"])
    assert sent.find("last") is None
    assert len(sent.find("huge")) == 80 * 1024 * 1024


async def test_many_requests_on_one_connection_are_answered_in_order(simulator):
    reader, writer = await asyncio.open_connection("127.0.0.1", int(simulator.origin.rsplit(":", 1)[1]))
    for name in ("gpt-4.1", "nobody", "o3-pro"):
        writer.write(f"GET /v1/models/{name} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n\r\n".encode())
    answers = []
    for _ in range(3):
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.readexactly(int(re.search(rb"content-length: (\d+)", head)[1]))
        answers.append((int(head.split()[1]), json.loads(body).get("id")))
    writer.close()
    assert answers == [(200, "gpt-4.1"), (404, None), (200, "o3-pro")]


async def test_stopping_ends_open_answers_and_says_so(tmp_path):
    async with Simulator(log=tmp_path / "log") as simulator, httpx.AsyncClient(verify=TLS) as http:
        headers = {"authorization": "Bearer any"}
        asked = asyncio.create_task(http.post(f"{simulator.url}/responses", json=asking("sim-hold"), headers=headers))
        await simulator.holds.until(1)
    with pytest.raises(httpx.TransportError):
        await asked
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line.get("ending") for line in lines] == [None, "stopped"]


async def test_a_log_goes_on_where_it_ended(tmp_path):
    for number in range(2):
        log = Log(tmp_path / "log")
        log.write("arrived", number=number)
        log.close()
    assert [json.loads(line)["number"] for line in (tmp_path / "log").read_text().splitlines()] == [0, 1]


# The command and the page


def start_command(*arguments):
    process = subprocess.Popen(
        [sys.executable, "manage.py", "simulate_upstream", *arguments],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    return process, re.search(r"http://\S+/v1", process.stdout.readline())[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_command_serves_until_it_is_told_to_stop(number):
    process, url = start_command("--port", "0", "--key", KEY)
    with process:
        try:
            async with httpx.AsyncClient(verify=TLS, base_url=url) as http:
                assert (await http.get("/models", headers={"authorization": "Bearer other"})).status_code == 401
                assert (await http.get("/models", headers={"authorization": f"Bearer {KEY}"})).status_code == 200
        finally:
            process.send_signal(number)
        assert process.wait(10) == 0


async def test_the_log_survives_a_kill(tmp_path):
    process, url = start_command("--log", str(tmp_path / "log"))
    with process:
        async with httpx.AsyncClient(verify=TLS, base_url=url, headers={"authorization": "Bearer any"}) as http:
            await http.post("/responses", json=asking("gpt-4.1"))
            async with http.stream("POST", "/responses", json=asking("sim-hold", stream=True)) as answer:
                await anext(answer.aiter_raw())
                process.kill()
                process.wait(10)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [(line["kind"], line["number"]) for line in lines] == [("arrived", 1), ("ended", 1), ("arrived", 2)]


async def test_the_page_explains_every_scenario():
    page = (ROOT / "docs" / "simulator.md").read_text()
    explained = set(re.findall(r"^\| `([a-z]+)", page, re.MULTILINE))
    assert set(DIRECTIVES) <= explained
    assert all(f"`{shape}`" in page for shape in SHAPES)
