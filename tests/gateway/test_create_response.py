"""POST /v1/responses from a socket to the books and back."""

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction

import pytest
from django.utils import timezone

from billing.models import Price
from billing.prices.pricing import PriceSheet, TokenPrice
from billing.prices.tokens import TokenUsage
from tests.tenants import PRICE, expected_cost, until

STREAMS = [
    "sim-ok", "sim-reasoning", "sim-tool-2", "sim-search", "sim-big-300", "sim-paced-30-1", "sim-keepalive",
    "sim-done", "sim-dataonly", "sim-nospace", "sim-multiline", "sim-bytes", "sim-pieces-7", "sim-joined", "sim-blanks",
    "sim-comments", "sim-usage-strings", "sim-usage-floats", "sim-usage-both", "sim-usage-more",
]  # fmt: skip


def usage_of(record):
    return TokenUsage(
        record.input_tokens, record.cached_tokens, record.cache_write_tokens, record.output_tokens,
        record.reasoning_tokens,
    )  # fmt: skip


def test_a_plain_answer_is_relayed_byte_for_byte_and_billed(acme, upstream):
    response = acme.ask("sim-usage-1000-200-100-50-20")
    assert response.status_code == 200
    request_id = response.headers["x-request-id"]
    assert response.content == upstream.sent(request_id)
    record = acme.record(request_id)
    assert (record.state, record.usage_source, record.status, record.stream) == ("settled", "reported", 200, False)
    assert usage_of(record) == TokenUsage(1000, 200, 100, 50, 20)
    assert record.cost_nano_usd == record.charged_nano_usd == expected_cost(usage_of(record)) > 0
    assert record.response_id == response.json()["id"]
    assert record.hold_nano_usd > record.cost_nano_usd


@pytest.mark.parametrize("model", STREAMS)
def test_a_stream_is_relayed_byte_for_byte_and_billed(acme, upstream, model):
    with acme.stream(model, "你好啊, what is the weather?") as response:
        received = response.read()
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    request_id = response.headers["x-request-id"]
    assert received == upstream.sent(request_id)
    record, reported = acme.record(request_id), upstream.ended(request_id)["usage"]
    assert (record.state, record.usage_source, record.stream) == ("settled", "reported", True)
    assert record.input_tokens == int(reported["input_tokens"])
    assert record.output_tokens == int(reported["output_tokens"])
    assert record.cost_nano_usd == expected_cost(usage_of(record)) > 0


@pytest.fixture
def _tiered(catalog, committed):
    """A sheet for the models that begin so: the default tier's price, half of it, twice it, and searches."""
    half, twice = (
        TokenPrice(*(int(pico * factor) for pico in (PRICE.input, PRICE.cached_input, PRICE.cache_write, PRICE.output)))
        for factor in (Fraction(1, 2), 2)
    )
    sheet = PriceSheet.of(
        PRICE, [("flex", 0, half), ("priority", 0, twice), ("default", 9000, twice)], {"web_search": 10**10}
    )
    for model in ("sim-search*", "sim-tier-*"):
        Price.objects.enter(model, datetime(2026, 1, 1, tzinfo=UTC), sheet)
    yield
    Price.objects.filter(model__in=["sim-search*", "sim-tier-*"]).delete()


@pytest.mark.usefixtures("_tiered")
@pytest.mark.parametrize(
    ("model", "asked", "factor", "flags"),
    [
        ("sim-tier-flex.usage-1000-0-0-1000-0", "auto", Fraction(1, 2), []),
        ("sim-tier-default.usage-1000-0-0-1000-0", "priority", 1, []),
        ("sim-tier-priority.usage-9001-0-0-1000-0", "priority", 2, []),
        ("sim-tier-default.usage-9001-0-0-1000-0", "flex", 2, []),
        ("sim-tier-scale.usage-1000-0-0-1000-0", "scale", 1, ["tier_unpriced"]),
    ],
)
def test_what_is_billed_is_the_tier_served(acme, model, asked, factor, flags):
    record = acme.record(acme.ask(model, service_tier=asked).headers["x-request-id"])
    assert record.cost_nano_usd == expected_cost(usage_of(record)) * factor
    assert (record.asked_service_tier, record.flags) == (asked, flags)
    assert record.hold_nano_usd > 0


@pytest.mark.usefixtures("_tiered")
def test_what_is_held_is_the_dearest_tier_that_asking_so_may_lead_to(acme):
    model = "sim-tier-default.usage-10-0-0-10-0"
    default, flex, priority, auto = (
        acme.record(acme.ask(model, service_tier=tier).headers["x-request-id"]).hold_nano_usd
        for tier in ("default", "flex", "priority", "auto")
    )
    assert default == pytest.approx(flex, rel=0.01)
    assert priority == pytest.approx(2 * default, rel=0.01)
    assert auto == pytest.approx(priority, rel=0.01)


@pytest.mark.usefixtures("_tiered")
def test_a_price_entered_amid_a_stream_holds_from_the_next_request_on(acme, upstream):
    dearer = replace(PRICE, output=3 * PRICE.output)

    def is_dearer():
        record = acme.record(acme.ask("sim-tier-default").headers["x-request-id"])
        return record.cost_nano_usd == expected_cost(usage_of(record), dearer)

    with acme.stream("sim-tier-default.hold-0-5") as response:
        Price.objects.enter("sim-tier-*", timezone.now(), PriceSheet(dearer))
        until(is_dearer)
        upstream.release(response.headers["x-request-id"])
        response.read()
    record = acme.record(response.headers["x-request-id"])
    assert record.price_id == Price.objects.filter(model="sim-tier-*").earliest("effective_from").id
    assert record.cost_nano_usd == expected_cost(usage_of(record)) > 0


@pytest.mark.usefixtures("_tiered")
def test_searches_are_billed_by_the_call(acme):
    record = acme.record(acme.ask("sim-search-3").headers["x-request-id"])
    assert record.input_tokens > 9000
    assert record.cost_nano_usd == 2 * expected_cost(usage_of(record)) + 3 * 10**7
    assert [line["kind"] for line in record.lines] == ["input", "output", "web_search"]


def test_the_record_is_settled_before_the_ending_reaches_the_client(acme):
    with acme.stream("sim-ok") as response:
        for line in response.iter_lines():
            if line == "event: response.completed":
                break
        record = acme.records()[-1]
    assert record.state == "settled"


def test_the_body_goes_upstream_untouched(acme, upstream):
    body = '{"model" : "sim-ok","input":"h\\u00e9 你好", "unknown_field": {"a":[1,2.50]} ,"metadata":{}}'.encode()
    response = acme.post(body, headers={"Content-Type": "application/json"})
    assert response.status_code == 200
    assert upstream.arrived(response.headers["x-request-id"])["body_sha256"] == hashlib.sha256(body).hexdigest()


def test_a_stream_asked_for_with_accept_json_streams(acme):
    body = {"model": "sim-ok", "stream": True, "input": [{"role": "user", "content": "你好啊"}]}
    response = acme.post(body, headers={"Accept": "application/json"})
    assert response.headers["content-type"].startswith("text/event-stream")
    assert "你" in response.text


def test_chat_usage_in_a_stream_gains_the_responses_keys(acme, upstream):
    with acme.stream("sim-usage-chat") as response:
        received = response.read()
    sent = upstream.sent(response.headers["x-request-id"])
    terminal = json.loads(received.split(b"data: ")[-1])
    usage = terminal["response"]["usage"]
    assert usage["input_tokens"] == usage["prompt_tokens"]
    assert usage["output_tokens"] == usage["completion_tokens"]
    assert received.split(b"event: response.completed")[0] == sent.split(b"event: response.completed")[0]
    record = acme.record(response.headers["x-request-id"])
    assert (record.input_tokens, record.output_tokens) == (usage["prompt_tokens"], usage["completion_tokens"])


@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_completion_is_relayed_and_metered(acme, stream):
    response = acme.ask("sim-chat", stream=stream)
    record = acme.record(response.headers["x-request-id"])
    assert (record.state, record.usage_source) == ("settled", "reported")
    assert record.input_tokens > 0
    assert record.output_tokens > 0
    assert b'"prompt_tokens"' in response.content
    assert b'"input_tokens"' in response.content
    assert response.content.rstrip().endswith(b"data: [DONE]") == stream


def test_incomplete_answers_are_billed(acme):
    response = acme.ask("gpt-4.1", "word " * 100, max_output_tokens=16)
    assert response.json()["status"] == "incomplete"
    record = acme.record(response.headers["x-request-id"])
    assert (record.state, record.output_tokens) == ("settled", 16)


def test_web_searches_are_counted_as_they_are_billed(acme):
    response = acme.ask("sim-search-2")
    assert acme.record(response.headers["x-request-id"]).tool_calls == {"web_search_call": 2}


def test_the_served_tier_and_model_are_kept(acme):
    response = acme.ask("sim-tier-default.othermodel", service_tier="flex")
    record = acme.record(response.headers["x-request-id"])
    assert (record.asked_service_tier, record.service_tier) == ("flex", "default")
    assert record.served_model == "gpt-4o-mini-2024-07-18"


def test_the_upstream_sees_nothing_of_the_tenant(acme, upstream):
    headers = {
        "OpenAI-Organization": "org-theirs", "OpenAI-Project": "proj_theirs", "Cookie": "a=b",
        "X-Forwarded-For": "1.2.3.4",
        "Idempotency-Key": "k", "X-Stainless-Lang": "python", "X-Codex-Turn-Metadata": "m", "OpenAI-Beta": "x=v1",
        "X-Client-Request-Id": "theirs",
    }  # fmt: skip
    response = acme.post({"model": "sim-ok", "input": "hi"}, headers=headers)
    request_id = response.headers["x-request-id"]
    sent = {name.lower(): value for name, value in upstream.arrived(request_id)["headers"].items()}
    assert set(sent) == {
        "host", "content-type", "accept", "accept-encoding", "user-agent", "x-client-request-id", "content-length",
        "authorization", "openai-beta",
    }  # fmt: skip
    assert (sent["accept-encoding"], sent["x-client-request-id"]) == ("identity", request_id)
    assert acme.record(request_id).client_request_id == "theirs"


def test_the_tenant_sees_nothing_of_the_upstreams_account(acme):
    response = acme.ask("sim-ok")
    assert set(response.headers) == {
        "date", "openai-processing-ms", "openai-version", "content-type", "content-length", "x-request-id",
        "cache-control",
    }  # fmt: skip
    assert response.headers["cache-control"] == "no-store"


def test_query_strings_are_relayed(acme, upstream):
    response = acme.post({"model": "sim-ok", "input": "hi"}, params={"beta": "true"})
    assert response.status_code == 200
    assert upstream.arrived(response.headers["x-request-id"])["query"] == "beta=true"
