import json

import httpx
import pytest

from gateway.redaction import redacted
from gateway.upstream.exchange import _translated
from gateway.upstream.failures import (
    Broken,
    Busy,
    Failing,
    GatewayTimeout,
    Misconfigured,
    Overloaded,
    Rejected,
    TimedOut,
    Unreachable,
    Unreadable,
    failure_of,
)

HOST = "eu.api.example"


def failure(status, body=None, headers=(), **error):
    body = json.dumps({"error": {"message": "It said so.", **error}}).encode() if body is None else body
    return failure_of(status, httpx.Headers(dict(headers)), body, lambda text: redacted(text, HOST))


@pytest.mark.parametrize("status", [400, 409, 413, 422])
def test_a_refusal_of_the_request_itself_is_relayed(status):
    found = failure(status, code="invalid_value", param="temperature")
    assert isinstance(found, Rejected)
    assert (found.status, found.message, found.param, found.code) == (
        status,
        "It said so.",
        "temperature",
        "invalid_value",
    )


def test_only_a_404_that_means_the_model_is_relayed():
    assert failure(404, code="model_not_found").status == 404
    assert failure(404).status == failure(404, code=None).status == 502


@pytest.mark.parametrize("status", [401, 402, 403])
def test_a_refusal_of_our_account_is_our_fault(status):
    found = failure(status, code="invalid_api_key")
    assert isinstance(found, Misconfigured)
    assert found.status == 502


@pytest.mark.parametrize("status", [400, 429, 503])
@pytest.mark.parametrize("code", ["insufficient_quota", "credit_balance_exhausted", "project_spend_limit_exceeded"])
def test_our_account_out_of_credit_is_our_fault_whatever_the_status(status, code):
    assert isinstance(failure(status, code=code), Misconfigured)
    assert isinstance(failure(status, type=code), Misconfigured)


def test_a_rate_limit_is_passed_on_as_overload_with_its_delay():
    found = failure(429, headers=[("Retry-After", "7")], code="rate_limit_exceeded")
    assert isinstance(found, Overloaded)
    assert (found.status, found.retry_headers) == (503, {"retry-after": "7"})
    assert failure(429).retry_headers == {}


@pytest.mark.parametrize("status", [408, 504])
def test_a_timeout_of_theirs_is_one_of_ours(status):
    assert isinstance(failure(status), GatewayTimeout)
    assert failure(status).status == 504


@pytest.mark.parametrize("status", [201, 202, 204, 206])
@pytest.mark.parametrize("code", [None, "insufficient_quota"])
def test_work_that_was_taken_on_without_an_answer_is_nothing_that_we_can_read(status, code):
    found = failure(status, code=code)
    assert isinstance(found, Unreadable)
    assert (found.status, found.answered, found.dispatched) == (502, False, True)


@pytest.mark.parametrize("status", [301, 307, 405, 410, 418, 451, 500, 502, 503, 520])
def test_anything_else_is_a_bad_gateway(status):
    assert isinstance(failure(status), Failing)
    assert failure(status).status == 502


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"null", b"[]", b'{"error":"x"}', b'{"error":{}}', b'{"error":{"message":7}}', b"\xff",
     b"[" * 100_000,
     b'{"error":{"message":""}}'],
)  # fmt: skip
def test_a_refusal_without_readable_words_is_a_bad_gateway(body):
    assert isinstance(failure(400, body), Failing)
    assert isinstance(failure(429, body), Overloaded)


def test_what_names_our_account_is_cut_out_of_what_the_tenant_reads():
    secret = "sk-upstream-canary-0123456789"
    words = f"Key {secret} of org-AbCdEf0123456789 at https://{HOST}/v1 is no good"
    found = failure(400, message=words, param=f"headers[{secret}]", code=f"bad_{secret}")
    assert found.message == "Key sk-[redacted] of org-[redacted] at https://[upstream]/v1 is no good"
    assert secret not in f"{found.param} {found.code}"


def test_all_that_an_upstream_answered_itself_did_no_work():
    assert all(failure(status).answered and failure(status).dispatched for status in (400, 401, 429, 500, 504))


@pytest.mark.parametrize(
    ("error", "kind", "status", "dispatched"),
    [
        (httpx.ConnectError, Unreachable, 502, False), (httpx.ConnectTimeout, Unreachable, 502, False),
        (httpx.PoolTimeout, Busy, 503, False), (httpx.LocalProtocolError, Unreachable, 502, False),
        (httpx.ReadTimeout, TimedOut, 504, True), (httpx.WriteTimeout, TimedOut, 504, True),
        (httpx.ReadError, Broken, 502, True), (httpx.RemoteProtocolError, Broken, 502, True),
    ],
)  # fmt: skip
def test_an_httpx_error_says_whether_the_request_may_have_reached_the_upstream(error, kind, status, dispatched):
    found = _translated(error("x"))
    assert type(found) is kind
    assert (found.status, found.dispatched, found.answered) == (status, dispatched, False)


@pytest.mark.parametrize(
    ("message", "missing", "is_item"),
    [
        ("Response with id 'resp_1' not found.", "resp_1", False),
        ("Previous response with id 'resp_1' not found.", "resp_1", False),
        ("Item with id 'rs_1' not found. Items are not persisted when `store` is set to false.", "rs_1", True),
        ("Not found.", "", False), ("Response with id '../x' not found.", "", False), (None, "", False),
    ],
)  # fmt: skip
def test_a_404_says_what_is_missing(message, missing, is_item):
    found = failure(404, message=message)
    assert (found.missing, found.is_item, found.status) == (missing, is_item, 502)
