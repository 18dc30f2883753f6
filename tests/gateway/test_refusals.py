"""What is refused, in whose words, and that it leaves no record but a count."""

import re
import socket
import uuid

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from accounts import keys
from accounts.models import APIKey
from billing.models import UsageRecord
from gateway.models import Model, Upstream
from tests.tenants import Tenant, add_model, until

GOOD = {"model": "sim-ok", "input": "hi"}


def refused_by_reason(gateway):
    text = httpx.get(f"{gateway.origin}/metrics", headers={"Authorization": "Bearer metrics"}).text
    return {
        sample.labels["reason"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "tollgate_refused_requests_total"
    }


@pytest.fixture
def counted(gateway, acme):
    """Asserts, at the end, that the test's one request was counted under its reason and left no record."""
    reasons = []
    before = refused_by_reason(gateway)
    yield reasons.append
    after = refused_by_reason(gateway)
    assert {reason for reason in after if after[reason] > before.get(reason, 0)} == set(reasons)
    assert acme.records() == []


def assert_envelope(response, status, *, code=None, param=None, kind="invalid_request_error"):
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert uuid.UUID(response.headers["x-request-id"]).version == 7
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["code"], error["param"]) == (kind, code, param)
    return error["message"]


def test_no_key(acme, counted):
    response = httpx.post(f"{acme.url}/responses", json=GOOD)
    assert "Missing bearer" in assert_envelope(response, 401)
    assert response.headers["www-authenticate"] == "Bearer"
    counted("missing_key")


@pytest.mark.parametrize(
    "secret",
    ["sk-wrong", keys.generate(), "sk-tg-" + "a" * 39, "\u00e9" * 20],
    ids=["garbage", "never issued", "bad checksum", "not ascii"],
)
def test_an_unknown_key_is_masked(acme, counted, secret):
    headers = {"Authorization": f"Bearer {secret}".encode()}
    response = httpx.post(f"{acme.url}/responses", json=GOOD, headers=headers)
    message = assert_envelope(response, 401, code="invalid_api_key")
    assert secret not in message
    counted("unknown_key")


def test_a_key_in_the_query_or_a_cookie_is_no_key(acme, counted):
    response = httpx.post(f"{acme.url}/responses?api_key={acme.secret}", json=GOOD, cookies={"key": acme.secret})
    assert_envelope(response, 401)
    counted("missing_key")


def test_a_revoked_key_is_refused_soon(acme):
    assert acme.post(GOOD).status_code == 200
    assert acme.key.revoke()
    response = until(lambda: (found := acme.post(GOOD)).status_code == 401 and found, seconds=2)
    assert_envelope(response, 401, code="invalid_api_key")


def test_an_expired_key_and_one_of_a_suspended_organization_are_refused(gateway, acme, globex):
    APIKey.objects.filter(id=acme.key.id).update(expires_at="2026-01-01T00:00Z")
    assert_envelope(acme.post(GOOD), 401, code="invalid_api_key")
    globex.organization.suspended_at = "2026-01-01T00:00Z"
    globex.organization.save()
    assert_envelope(globex.post(GOOD), 401, code="account_deactivated")


def test_a_key_is_bound_to_its_networks_and_endpoints(gateway, committed):
    elsewhere = Tenant.make("elsewhere", gateway.url, allowed_networks=["192.0.2.0/24"])
    assert "IP" in assert_envelope(elsewhere.post(GOOD), 401)
    here = Tenant.make("here", gateway.url, allowed_networks=["127.0.0.0/8", "::1"])
    assert here.post(GOOD).status_code == 200
    lister = Tenant.make("lister", gateway.url, allowed_endpoints=["models"])
    assert "permissions" in assert_envelope(lister.post(GOOD), 401)
    assert httpx.get(f"{gateway.url}/models", headers=lister.headers).status_code == 200


def test_an_unknown_model(acme, counted):
    message = assert_envelope(acme.ask("nonesuch"), 404, code="model_not_found", param="model")
    assert "`nonesuch`" in message
    counted("unknown_model")


def test_a_model_that_the_key_may_not_use(gateway, committed):
    tenant = Tenant.make("narrow", gateway.url, allowed_models=["gpt-*", "o3-pro"])
    assert_envelope(tenant.ask("sim-ok"), 403, code="model_not_found", param="model")
    assert tenant.ask("o3-pro").status_code == 200


def test_a_model_that_is_not_served_on_the_endpoint(acme):
    add_model("chat-only-model", Upstream.objects.get(name="simulator"), endpoints=["responses"])
    Model.objects.filter(name="chat-only-model").update(endpoints=["chat/completions"])
    message = until(
        lambda: (found := acme.ask("chat-only-model")).status_code == 400 and found.json()["error"]["message"]
    )
    assert "/v1/chat/completions" in message


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None), (b"{", None), (b"[]", None), (b'"text"', None), (b"\xff\xfe", None), (b'{"model": NaN}', None),
        (b"[" * 100_000, None), (b'{"input": "hi"}', "model"), (b'{"model": 5, "input": "hi"}', "model"),
        (b'{"model": null, "input": "hi"}', "model"), (b'{"model": "", "input": "hi"}', "model"),
        (b'{"model": "sim-ok", "input": "hi", "stream": "yes"}', "stream"),
        (b'{"model": "sim-ok", "input": "hi", "max_output_tokens": "many"}', "max_output_tokens"),
    ],
)  # fmt: skip
def test_bad_bodies_name_what_is_wrong(acme, counted, body, param):
    response = acme.post(body, headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
    counted("invalid_request")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"conversation": {"id": "conv_1"}}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt.id"),
        ({"input": [{"content": [{"type": "input_file", "file_id": "f"}]}]}, "input[0].content[0].file_id"),
        ({"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]}, "tools[0].vector_store_ids"),
        ({"tools": [{"type": "code_interpreter", "container": "cntr_1"}]}, "tools[0].container"),
        ({"tools": [{"container": {"type": "auto", "file_ids": ["f"]}}]}, "tools[0].container.file_ids"),
    ],
)  # fmt: skip
def test_stored_objects_are_refused_by_name(acme, counted, fields, param):
    assert_envelope(acme.post({**GOOD, **fields}), 400, code="invalid_value", param=param)
    counted("invalid_request")


def test_a_large_body_is_read_on_and_answered(acme, counted):
    body = b'{"model": "sim-ok", "input": "' + b"x" * (40 * 1024 * 1024) + b'"}'
    response = acme.post(body, headers={"Content-Type": "application/json"})
    assert_envelope(response, 413, code="request_too_large")
    counted("request_too_large")


def test_a_body_just_under_the_bound_passes(acme):
    body = b'{"model": "sim-ok", "input": "' + b"x" * (31 * 1024 * 1024) + b'"}'
    assert acme.post(body, headers={"Content-Type": "application/json"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Encoding": "br", "Content-Type": "application/json"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": "application/x-www-form-urlencoded"},
    ],
)
def test_what_is_not_read_is_named(acme, counted, headers):
    assert_envelope(acme.post(b"{}", headers=headers), 415, code="unsupported_media_type")
    counted("unsupported_media_type")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nonesuch", 404, None), ("POST", "/chat/completions", 404, None), ("GET", "", 404, None),
        ("POST", "/responses/", 404, None), ("PATCH", "/responses/resp_1", 405, "method_not_supported"),
        ("PUT", "/responses", 405, "method_not_supported"), ("GET", "/responses", 405, "method_not_supported"),
        ("POST", "/models", 405, "method_not_supported"),
    ],
)  # fmt: skip
def test_unknown_paths_and_methods(acme, method, path, status, code):
    response = httpx.request(method, f"{acme.url}{path}", headers=acme.headers)
    message = assert_envelope(response, status, code=code)
    assert method in message


def test_a_websocket_upgrade_is_told_to_use_post(gateway, acme):
    host, port = gateway.origin.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(
            f"GET /v1/responses HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {acme.secret}\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        answer = ""
        while "}}" not in answer:
            answer += connection.recv(4096).decode()
    assert answer.startswith("HTTP/1.1 426 ")
    assert '"websocket_not_supported"' in answer


def test_the_log_holds_no_key_and_no_prompt(gateway, acme):
    acme.ask("sim-unauthorized", "prompt-canary-7531")
    acme.ask("sim-ok", "prompt-canary-7531")
    acme.post(b'{"model": "sim-ok", "input": "prompt-canary-7531', headers={"Content-Type": "application/json"})
    assert "refuses our account" in gateway.log
    assert acme.secret not in gateway.log
    assert "prompt-canary" not in gateway.log
    assert not re.search(r"sk-(tg|upstream)-[A-Za-z0-9]", gateway.log)


def test_records_are_counted_once_per_admitted_request(acme):
    for _ in range(3):
        acme.post(GOOD)
    acme.ask("nonesuch")
    assert UsageRecord.objects.filter(organization=acme.organization).count() == 3
