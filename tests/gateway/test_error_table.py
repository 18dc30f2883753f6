"""Every row of the table of errors, over a socket: status, type, code, param, words, and what retries go by.

And that no answer tells what an upstream tells of itself: its key, its account, its host, its headers.
"""

import gzip
import json
import re
from dataclasses import dataclass, field

import httpx
import pytest

from accounts.models import APIKey, Organization
from gateway.models import Model, Upstream
from tests.gateway.hostile import HEADERS, KEY, ORGANIZATION, PROJECT, Hostile
from tests.quotas import set_quota
from tests.tenants import add_model, until

GOOD = {"model": "sim-ok", "input": "hi"}
INVALID, SERVER = "invalid_request_error", "server_error"
JSON = {"Content-Type": "application/json"}
RETRY_HEADERS = ("x-should-retry", "retry-after", "retry-after-ms", "www-authenticate", "allow")


@dataclass
class Row:
    """What is sent (by `ask`, or a body by acme's key) and what comes of it."""

    status: int
    message: str
    body: object = None
    ask: object = None
    type: str = INVALID
    code: str | None = None
    param: str | None = None
    headers: dict = field(default_factory=dict)

    def asked(self, tenant):
        return self.ask(tenant) if self.ask else tenant.post({**GOOD, **self.body})


@pytest.fixture(scope="module")
def hostile():
    with Hostile() as upstream:
        yield upstream


@pytest.fixture
def models(gateway, committed, hostile):
    """Models that go wrong in each way, known to the gateway."""
    nobody = {"base_url": "http://127.0.0.1:1/v1", "allow_private": True}
    upstream, _ = Upstream.objects.get_or_create(name="hostile", defaults=nobody)
    upstream.base_url = hostile.url
    upstream.seal_key(KEY)
    upstream.save()
    add_model("hostile-*", upstream)
    nowhere, _ = Upstream.objects.get_or_create(name="nowhere", defaults=nobody)
    add_model("nowhere-1", nowhere)
    Model.objects.get_or_create(name="unrouted-1")
    simulator = Upstream.objects.get(name="simulator")
    add_model("elsewhere-1", simulator)
    Model.objects.filter(name="elsewhere-1").update(endpoints=["chat/completions"])
    Model.objects.get_or_create(name="unpriced-1")[0].routes.get_or_create(upstream=simulator)
    yield
    Model.objects.filter(name__in=["hostile-*", "nowhere-1", "unrouted-1", "elsewhere-1", "unpriced-1"]).delete()


def request(method="POST", path="/responses", *, key=None, headers=(), **fields):
    def ask(tenant):
        given = {"Authorization": f"Bearer {key or tenant.secret}", **dict(headers)}
        sent = fields if "content" in fields else {"json": GOOD, **fields}
        return httpx.request(method, f"{tenant.url}{path}", headers=given, timeout=30, **sent)

    return ask


def without_key(tenant):
    return httpx.post(f"{tenant.url}/responses", json=GOOD)


def changed(change, **body):
    """Asks once the change of the tenant's rows is known to the gateway, which is when it refuses."""

    def ask(tenant):
        change(tenant)
        return until(lambda: (found := tenant.post({**GOOD, **body})).status_code != 200 and found)

    return ask


def key_with(**fields):
    return lambda tenant: APIKey.objects.filter(pk=tenant.key.pk).update(**fields)


def suspended(tenant):
    Organization.objects.filter(pk=tenant.organization.pk).update(suspended_at="2026-01-01T00:00Z")


def poor(tenant):
    set_quota("cost", 1, organization=tenant.organization)


def under_quota(tenant):
    set_quota("cost", 10**15, organization=tenant.organization)


def upgrade(tenant):
    return httpx.get(
        f"{tenant.url}/responses", headers={**tenant.headers, "Upgrade": "websocket", "Connection": "Upgrade"}
    )


STOP, GO = {"x-should-retry": "false"}, {"x-should-retry": "true"}
TABLE = {
    "no key": Row(401, "Missing bearer or basic", ask=without_key, headers={"www-authenticate": "Bearer"}),
    "bad key": Row(401, r"^Incorrect API key provided: sk-ab\*\*\*wxyz\.", code="invalid_api_key",
                   ask=request(key="sk-abcdefghijklmnopqrstuvwxyz")),
    "revoked key": Row(401, r"^Incorrect API key provided: sk-tg-....\.\.\.....\.", code="invalid_api_key",
                       ask=changed(lambda tenant: tenant.key.revoke())),
    "expired key": Row(401, "^Incorrect API key provided: ", code="invalid_api_key",
                       ask=changed(key_with(expires_at="2026-01-01T00:00Z"))),
    "tenant disabled": Row(401, "has been deactivated", code="account_deactivated", ask=changed(suspended)),
    "key lacks scope": Row(401, "^You have insufficient permissions for this operation",
                           ask=changed(key_with(allowed_endpoints=["models"]))),
    "address not allowed": Row(401, "IP is not authorized", ask=changed(key_with(allowed_networks=["192.0.2.0/24"]))),
    "no access to model": Row(403, "does not have access to model `sim-ok`", code="model_not_found", param="model",
                              ask=changed(key_with(allowed_models=["gpt-*"]))),
    "unknown model": Row(404, "^The model `none` does not exist or you do not have access to it.$", {"model": "none"},
                         code="model_not_found", param="model"),
    "not on this endpoint": Row(400, "not served on this endpoint", {"model": "elsewhere-1"},
                                code="unsupported_endpoint", param="model"),
    "unknown URL": Row(404, r"^Invalid URL \(POST /v1/x\)$", ask=request(path="/x")),
    "wrong method": Row(405, "^Not allowed to PUT on /v1/responses", code="method_not_supported",
                        ask=request("PUT"), headers={"allow": "POST"}),
    "websocket": Row(426, "POST /v1/responses", code="websocket_not_supported", ask=upgrade),
    "invalid JSON": Row(400, r"^We could not parse the JSON body of your request. \(HINT: ",
                        ask=request(content=b"{", headers=JSON)),
    "no object": Row(400, "must be a JSON object", ask=request(content=b"[]", headers=JSON)),
    "too deep": Row(400, "levels deep", code="invalid_value",
                    ask=request(content=b'{"model":"sim-ok","input":' + b"[" * 300 + b"]" * 300 + b"}", headers=JSON)),
    "missing": Row(400, "^Missing required parameter: 'model'.", code="missing_required_parameter", param="model",
                   ask=request(json={})),
    "wrong type": Row(400, "^Invalid value for 'stream': expected `bool", {"stream": "yes"}, code="invalid_type",
                      param="stream"),
    "wrong value": Row(400, "^Invalid value for 'max_tool_calls'", {"max_tool_calls": 10**9}, code="invalid_value",
                       param="max_tool_calls"),
    "twice": Row(400, "^Duplicate parameter: 'model'.", code="duplicate_parameter", param="model",
                 ask=request(content=b'{"model":"sim-ok","model":"o3-pro","input":"hi"}', headers=JSON)),
    "tier": Row(400, "^Invalid service_tier argument: ", {"service_tier": "turbo"}, param="service_tier"),
    "background": Row(400, "Background", {"background": True}, code="invalid_value", param="background"),
    "upstream's own 400": Row(400, "^Invalid 'max_output_tokens'", {"max_output_tokens": 1}, code="*",
                              param="max_output_tokens"),
    "context too long": Row(400, r"^Bad: key sk-proj-\[redacted\]", {"model": "hostile-400-json"},
                            code="context_length_exceeded", param="*"),
    "body too large": Row(413, "larger than 33554432 bytes", code="request_too_large",
                          ask=request(content=b" " * (33 * 2**20), headers=JSON)),
    "inflates": Row(413, "inflates to more than", code="request_too_large",
                    ask=request(content=gzip.compress(bytes(2**25)), headers={**JSON, "Content-Encoding": "gzip"})),
    "content encoding": Row(415, "gzip or zstd", code="unsupported_media_type",
                            ask=request(content=b"{}", headers={**JSON, "Content-Encoding": "br"})),
    "content type": Row(415, "use application/json", code="unsupported_media_type",
                        ask=request(content=b"{}", headers={"Content-Type": "text/xml"})),
    "quota": Row(429, "^You exceeded your current quota", type="insufficient_quota", code="insufficient_quota",
                 ask=changed(poor), headers=STOP),
    "no price": Row(503, "no price here", type=SERVER, code="model_not_priced", param="model",
                    ask=changed(under_quota, model="unpriced-1"), headers=STOP),
    "no route": Row(503, "No upstream serves", {"model": "unrouted-1"}, type=SERVER, code="no_route", param="model",
                    headers={**GO, "retry-after": "5"}),
    "upstream's rate limit": Row(503, "slow down", {"model": "sim-ratelimited-3"}, code="slow_down",
                                 type="service_unavailable_error",
                                 headers={"retry-after": "3", "retry-after-ms": "3000"}),
    "upstream 500": Row(502, "could not answer", {"model": "sim-status-500"}, type=SERVER, code="upstream_error"),
    "upstream 503": Row(502, "could not answer", {"model": "sim-status-503"}, type=SERVER, code="upstream_error"),
    "upstream's HTML": Row(502, "could not answer", {"model": "sim-html"}, type=SERVER, code="upstream_error"),
    "upstream's garbage": Row(502, "could not answer", {"model": "sim-garbage"}, type=SERVER, code="upstream_error"),
    "upstream refuses us": Row(502, "could not answer", {"model": "sim-unauthorized"}, type=SERVER,
                               code="upstream_error"),
    "upstream forbids us": Row(502, "could not answer", {"model": "sim-forbidden"}, type=SERVER, code="upstream_error"),
    "upstream's quota": Row(502, "could not answer", {"model": "sim-quota"}, type=SERVER, code="upstream_error"),
    "upstream is away": Row(502, "could not answer", {"model": "nowhere-1"}, type=SERVER, code="upstream_error"),
    "upstream compresses": Row(502, "could not answer", {"model": "sim-gzip"}, type=SERVER, code="upstream_error"),
    "upstream's timeout": Row(504, "did not answer in time", {"model": "sim-status-504"}, type=SERVER, code="timeout"),
    "upstream's conflict": Row(409, "simulated error", {"model": "sim-status-409"}),
    "upstream's teapot": Row(502, "could not answer", {"model": "sim-status-418"}, type=SERVER, code="upstream_error"),
}  # fmt: skip


STREAMED = [name for name, row in TABLE.items() if row.body is not None and "stream" not in row.body]


@pytest.mark.parametrize(("name", "stream"), [*((name, False) for name in TABLE), *((name, True) for name in STREAMED)])
def test_the_table(acme, models, name, stream):
    row = TABLE[name]
    body = {**row.body, "stream": True} if stream else row.body
    response = Row(**{**vars(row), "body": body}).asked(acme)
    assert response.status_code == row.status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    error = response.json()["error"]
    assert response.json() == {"error": error}
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == row.type
    assert row.code in {"*", error["code"]}
    assert row.param in {"*", error["param"]}
    assert re.search(row.message, error["message"])
    assert {name: response.headers[name] for name in RETRY_HEADERS if name in response.headers} == row.headers


OURS = {"content-type", "content-length", "x-request-id", "cache-control", "date", "retry-after", "retry-after-ms",
        "transfer-encoding", "x-accel-buffering", "openai-processing-ms", "openai-version", "connection",
        "x-should-retry"}  # fmt: skip
SECRETS = (KEY, ORGANIZATION, PROJECT, "canary", "Canary", "req_", "__cf", "Authorization")


def test_nothing_that_an_upstream_tells_of_itself_reaches_a_tenant(acme, models, hostile):
    statuses = [201, 302, 307, 400, 401, 402, 403, 404, 408, 409, 413, 418, 422, 429, 451, 500, 502, 503, 504, 520]
    for status in statuses:
        for kind in ("json", "html", "text", "quota"):
            for stream in (False, True):
                response = acme.ask(f"hostile-{status}-{kind}", stream=stream)
                assert response.status_code >= 400, (status, kind)
                assert_silent(response, hostile)
                assert response.status_code not in {401, 402, 403}
    assert len(acme.records()) == len(statuses) * 8
    assert {record.state for record in acme.records()} <= {"void", "settled"}


def test_nothing_of_it_is_told_inside_a_stream(acme, models, hostile):
    for count in (1, 2, 5):
        response = acme.ask(f"hostile-stream-{count}", stream=True)
        assert_silent(response, hostile)
        assert response.text.count("response.failed") >= 1


@pytest.mark.parametrize("model", ["sim-ok", "sim-unauthorized", "sim-forbidden", "sim-quota", "sim-ratelimited"])
def test_the_simulators_account_is_not_told(acme, upstream, model):
    for stream in (False, True):
        response = acme.ask(model, stream=stream)
        assert set(response.headers) <= OURS
        assert "org-" not in response.text
        assert "proj_" not in response.text


def assert_silent(response, hostile):
    told = f"{response.text} {response.headers}"
    assert not [secret for secret in (*SECRETS, hostile.origin) if secret in told], told
    assert set(response.headers) <= OURS
    assert not set(response.headers) & (set(HEADERS) - OURS)
    if response.headers["content-type"] == "application/json":
        assert set(json.loads(response.content)["error"]) == {"message", "type", "param", "code"}
