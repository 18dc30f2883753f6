"""What people's clients send passes unrefused, arrives byte for byte, and may be continued by whom it belongs to."""

import hashlib
import json
import sys

import httpx
import pytest

from tests.clients.corpus import MAKERS

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TURNS = 3
# What may reach the upstream (protocol.md 5): the rest is the tenant's own, or for us.
ALLOWED = {
    "authorization", "content-type", "content-length", "accept", "accept-encoding", "host", "user-agent",
    "openai-beta", "x-client-request-id", "connection",
}  # fmt: skip


@pytest.fixture
def http(acme):
    """No header but those that are given."""
    with httpx.Client(base_url=acme.url, timeout=30) as client:
        client.headers.clear()
        yield client


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_it_passes_unrefused_and_is_continued(make, http, acme, upstream):
    items = []
    for _ in range(TURNS):
        sent = make(items)
        answer = post(http, acme, sent)
        assert answer.status_code == 200, answer.text
        arrived = arrival(upstream, answer)
        assert arrived["body_sha256"] == hashlib.sha256(sent.body.encode()).hexdigest()
        assert set(arrived["headers"]) <= ALLOWED
        response = ended(answer, sent)
        assert response["status"] == "completed", response
        items = [*sent.items, *response["output"], *outputs(response["output"])]


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_it_is_counted_without_being_made(make, http, acme):
    """Its count for the same input, as tools ask for it before they send."""
    body = json.loads(make([]).body)
    counted = {name: body[name] for name in ("model", "input", "tools", "instructions") if name in body}
    answer = http.post("/responses/input_tokens", headers=acme.headers, json=counted)
    assert answer.json()["object"] == "response.input_tokens", answer.text


def post(http, tenant, sent):
    body = sent.body.encode()
    headers = {**sent.headers, "content-type": "application/json", **tenant.headers}
    return http.post("/responses", headers=headers, content=zstd.compress(body) if sent.is_compressed else body)


def arrival(upstream, answer):
    request_id = answer.headers["x-request-id"]
    upstream.ended(request_id)
    (arrived,) = [line for line in upstream.lines_of(request_id) if line["kind"] == "arrived"]
    return arrived


def ended(answer, sent):
    """The response object, of the terminal event where it was streamed."""
    if not sent.is_stream:
        return answer.json()
    data = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    return json.loads(data[-1])["response"]


def outputs(items):
    """What the client's tools said to the calls among them."""
    kinds = {"function_call": "function_call_output", "custom_tool_call": "custom_tool_call_output"}
    return [
        {"type": kinds[item["type"]], "call_id": item["call_id"], "output": "3 passed"}
        for item in items
        if item["type"] in kinds
    ]
