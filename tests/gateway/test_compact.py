"""POST /v1/responses/compact: held and settled as an answer is."""

import hashlib

import httpx
import pytest

from tests.gateway.test_create_response import usage_of
from tests.quotas import set_quota, window_of
from tests.tenants import expected_cost

MODEL = "sim-usage-1000-200-100-50-20"


def compact(tenant, model=MODEL, **fields):
    body = {"model": model, "input": "Hello there", **fields}
    return httpx.post(f"{tenant.url}/responses/compact", headers=tenant.headers, json=body, timeout=30)


def test_a_compaction_is_relayed_byte_for_byte_and_billed(acme, upstream):
    response = compact(acme)
    assert response.status_code == 200
    request_id = response.headers["x-request-id"]
    assert response.content == upstream.sent(request_id)
    answer = response.json()
    assert answer["object"] == "response.compaction"
    assert answer["output"][-1]["encrypted_content"]
    record = acme.record(request_id)
    assert (record.endpoint, record.state, record.usage_source, record.status) == (
        "compact",
        "settled",
        "reported",
        200,
    )
    assert record.model == MODEL
    assert record.cost_nano_usd == record.charged_nano_usd == expected_cost(usage_of(record)) > 0
    assert record.input_tokens == answer["usage"]["input_tokens"] > 0
    assert record.hold_nano_usd > record.cost_nano_usd


def test_nothing_is_added_under_a_hard_quota_and_the_most_that_the_model_writes_is_held(acme, upstream):
    """The endpoint has no `max_output_tokens`: one of the client's bounds nothing, one of ours would be refused."""
    quota = set_quota("tokens", 10_000_000, organization=acme.organization)
    for fields in ({}, {"max_output_tokens": 16}):
        response = compact(acme, **fields)
        sent = upstream.arrived(response.headers["x-request-id"])
        assert sent["path"] == "/v1/responses/compact"
        assert sent["body_sha256"] == hashlib.sha256(response.request.content).hexdigest()
        assert acme.records()[-1].hold_tokens > 128_000
    assert window_of(quota).held == 0


def test_what_does_not_fit_is_refused_before_anything_is_billed_upstream(acme, upstream):
    set_quota("tokens", 100_000, organization=acme.organization)
    response = compact(acme)
    assert response.status_code == 429
    assert response.json()["error"]["code"] == "insufficient_quota"
    assert response.headers["x-should-retry"] == "false"
    assert upstream.lines_of(response.headers["x-request-id"]) == []
    assert acme.records() == []


@pytest.mark.parametrize(
    ("model", "status", "source"), [("sim-unauthorized", 502, "none"), ("sim-usage-absent", 200, "estimated")]
)
def test_each_ends_in_one_record(acme, model, status, source):
    response = compact(acme, model)
    assert response.status_code == status, response.text
    (record,) = acme.records()
    assert (record.usage_source, record.endpoint) == (source, "compact")
    assert str(record.id) == response.headers["x-request-id"]


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"model": "nonesuch"}, 404, "model"), ({"conversation": "conv_1"}, 400, "conversation"),
        ({"previous_response_id": "resp_1"}, 400, "previous_response_id"), ({"background": True}, 400, "background"),
    ],
)  # fmt: skip
def test_it_is_refused_as_a_response_would_be(acme, fields, status, param):
    response = compact(acme, **fields)
    assert (response.status_code, response.json()["error"]["param"]) == (status, param)
    assert acme.records() == []


@pytest.mark.parametrize("endpoint", ["compact", "input_tokens"])
def test_a_project_that_stores_nothing_asks_as_it_did(acme, upstream, endpoint):
    """`store: false` is set where the endpoint has it: in a response."""
    acme.project.allows_store = False
    acme.project.save()
    body = {"model": MODEL, "input": "Hello"}
    response = httpx.post(f"{acme.url}/responses/{endpoint}", headers=acme.headers, json=body)
    assert response.status_code == 200
    sent = upstream.arrived(response.headers["x-request-id"])["body_sha256"]
    assert sent == hashlib.sha256(response.request.content).hexdigest()
