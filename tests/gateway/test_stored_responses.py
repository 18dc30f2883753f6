"""What is done with a response by its id: for its project, and for nobody else."""

import asyncio
import http.client
import itertools
import json
import threading
import uuid
from contextlib import closing
from types import SimpleNamespace

import httpx
import pytest
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from accounts.models import APIKey, Project
from billing.models import UsageRecord
from gateway.addresses import origin_of
from gateway.catalog import RouteFacts, UpstreamFacts
from gateway.models import ResponseOwner, Upstream
from gateway.upstream.exchange import Call
from gateway.upstream.transport import UpstreamTransport
from gateway.views.stored import Stored
from tests.gateway.stage import Upstream as ScriptedUpstream
from tests.gateway.words import few_words
from tests.tenants import Tenant, until

ROUTES = [("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items"), ("GET", "?stream=true")]
HEADERS = {
    "date", "openai-processing-ms", "openai-version", "content-type", "content-length", "x-request-id", "cache-control",
}  # fmt: skip


def own(tenant, response_id, upstream=None):
    upstream = upstream or Upstream.objects.get(name="simulator")
    fields = {
        "organization_id": tenant.organization.id, "project_id": tenant.project.id, "upstream_id": upstream.id,
        "record_id": uuid.uuid4(), "created_at": timezone.now(),
    }  # fmt: skip
    ResponseOwner.objects.get_or_create(response_id=response_id, defaults=fields)
    return response_id


def made(tenant, model="sim-ok", **fields):
    """The id of a response of the tenant's that its upstream has."""
    return own(tenant, tenant.ask(model, **fields).json()["id"])


def ask(tenant, method, response_id, rest="", **fields):
    url = f"{tenant.url}/responses/{response_id}{rest}"
    return httpx.request(method, url, headers={**tenant.headers, **fields.pop("headers", {})}, timeout=30, **fields)


def not_found(response_id):
    return {
        "error": {
            "message": f"Response with id '{response_id}' not found.", "type": "invalid_request_error", "param": None,
            "code": None,
        }
    }  # fmt: skip


@pytest.fixture(scope="module")
def words(gateway, plane_unblocked):
    """An upstream of few words that the gateway knows."""
    tenant = Tenant.make("words", gateway.url)
    with few_words(f"words-{uuid.uuid4().hex[:8]}") as (server, upstream):
        probe = own(tenant, f"resp_{uuid.uuid4().hex}", upstream)
        server.answers[f"/responses/{probe}"] = (200, {}, [b"{}"])
        until(lambda: ask(tenant, "GET", probe).status_code == 200)
        yield server, upstream


def at_words(tenant, words, *answer, parts=("",)):
    """The id of a response of the tenant's to which `answer` is given."""
    server, upstream = words
    response_id = own(tenant, f"resp_{uuid.uuid4().hex}", upstream)
    for part in parts:
        server.answers[f"/responses/{response_id}{part}"] = answer
    return response_id


def test_a_response_is_retrieved_as_its_upstream_shows_it_and_read_for_free(acme, upstream):
    response_id = made(acme)
    response = ask(acme, "GET", response_id)
    assert response.status_code == 200
    assert response.content == upstream.sent(response.headers["x-request-id"])
    assert response.json()["id"] == response_id
    assert response.json()["usage"]["total_tokens"] > 0
    assert set(response.headers) == HEADERS
    assert response.headers["cache-control"] == "no-store"
    assert UsageRecord.objects.filter(organization=acme.organization).count() == 1


def test_input_items_are_listed_with_the_query_as_it_came(acme, upstream):
    response_id = made(acme, text=[{"role": "user", "content": word} for word in ("one", "two", "three")])
    query = "?limit=2&order=asc&include[]=message.output_text.logprobs&beta=true"
    response = ask(acme, "GET", response_id, f"/input_items{query}")
    assert response.status_code == 200
    assert [item["content"][0]["text"] for item in response.json()["data"]] == ["one", "two"]
    assert response.content == upstream.sent(response.headers["x-request-id"])
    assert upstream.arrived(response.headers["x-request-id"])["query"] == query[1:]
    assert set(response.headers) == HEADERS


def test_what_goes_upstream_has_no_body_and_nothing_of_the_tenant(acme, upstream):
    response_id = made(acme)
    headers = {"OpenAI-Beta": "x=v1", "Cookie": "a=b", "OpenAI-Project": "proj_theirs", "X-Api-Key": "k"}
    common = {"host", "accept", "accept-encoding", "user-agent", "x-client-request-id", "authorization", "openai-beta"}
    for (method, rest), more in zip(ROUTES[:0:-1], [(), (), ("content-length",), ("content-length",)], strict=True):
        content = b'{"prompt": "x"}' if method == "POST" else None
        response = ask(acme, method, response_id, rest, headers=headers, content=content)
        sent = {
            name.lower(): value for name, value in upstream.arrived(response.headers["x-request-id"])["headers"].items()
        }
        assert set(sent) == common | set(more), (method, rest)
        assert sent["accept"] == ("text/event-stream" if "stream" in rest else "application/json")
        assert sent.get("content-length", "0") == "0"


def test_what_is_deleted_is_unknown_from_then_on_and_its_upstream_is_not_asked(acme, upstream):
    response_id = made(acme)
    response = ask(acme, "DELETE", response_id)
    assert response.json() == {"id": response_id, "object": "response", "deleted": True}
    assert ResponseOwner.objects.get(response_id=response_id).deleted_at is not None
    for method, rest in ROUTES:
        response = ask(acme, method, response_id, rest)
        assert (response.status_code, response.json()) == (404, not_found(response_id))
        assert upstream.lines_of(response.headers["x-request-id"]) == []


def test_what_its_upstream_will_not_delete_stays(acme, words):
    response_id = at_words(acme, words, 500, {}, [b"<html>"])
    assert ask(acme, "DELETE", response_id).status_code == 502
    words[0].answers[f"/responses/{response_id}"] = (200, {}, [b"{}"])
    assert ask(acme, "GET", response_id).status_code == 200


async def leave():
    await asyncio.Event().wait()


async def fail():
    raise ZeroDivisionError


@pytest.mark.parametrize(("then", "error"), [(leave, TimeoutError), (fail, ZeroDivisionError)])
async def test_an_answer_is_closed_where_what_was_to_be_done_upon_it_was_not(then, error):
    """Else its connection would be nobody's."""
    said, told = asyncio.Event(), asyncio.Event()

    async def endlessly(send):
        said.set()
        await send(b"{")

    async with ScriptedUpstream(endlessly, kind=b"application/json", closes=False) as upstream:
        transport = UpstreamTransport(connect_seconds=5, read_seconds=5, most_connections=1)
        origin = origin_of(upstream.url, allow_private=True)
        route = RouteFacts(UpstreamFacts(uuid.uuid4(), "scripted", upstream.url, origin, None), "")
        runtime = SimpleNamespace(transport=transport)
        stored = Stored(SimpleNamespace(runtime=runtime), None, "resp_1", None, route)
        call = Call(path="/responses/resp_1", body=b"", request_id=b"1", stream=False, method="DELETE")
        with pytest.raises(error):
            await asyncio.wait_for(stored._begun(call, then, told.set), 0.5)
        assert said.is_set()
        await asyncio.wait_for(upstream.finished.wait(), 5)
        await transport.aclose()


def test_whether_there_is_anything_to_cancel_the_upstream_says(acme):
    response = ask(acme, "POST", made(acme), "/cancel")
    assert response.status_code == 400
    assert "cancel" in response.json()["error"]["message"].lower()


def test_unknown_foreign_and_deleted_are_one_answer_and_no_work_upstream(acme, globex, upstream):
    sibling = Project.objects.create(organization=acme.organization, name="sibling")
    key, secret = APIKey.objects.issue(project=sibling, name="bot")
    of_sibling = Tenant(acme.organization, sibling, key, secret, acme.url)
    deleted = made(acme)
    ask(acme, "DELETE", deleted)
    ids = ["resp_" + uuid.uuid4().hex * 2, "msg_1", made(globex), made(of_sibling), deleted, "resp_1.2", "input_token"]
    for (method, rest), response_id in itertools.product(ROUTES, ids):
        response = ask(acme, method, response_id, rest)
        case = (method, rest, response_id)
        assert (response.status_code, response.json()) == (404, not_found(response_id)), case
        assert set(response.headers) == {"date", "content-type", "content-length", "x-request-id", "cache-control"}, (
            case
        )
        assert upstream.lines_of(response.headers["x-request-id"]) == [], case
    assert ask(globex, "GET", ids[2]).status_code == ask(of_sibling, "GET", ids[3]).status_code == 200


def test_gone_at_its_upstream_is_the_same_answer(acme):
    response_id = own(acme, f"resp_{uuid.uuid4().hex}")
    for method, rest in ROUTES:
        response = ask(acme, method, response_id, rest)
        assert (response.status_code, response.json()) == (404, not_found(response_id))
        assert set(response.headers) == {"date", "content-type", "content-length", "x-request-id", "cache-control"}


PARTS = ["..", ".", "%2e%2e", "%2E.", "..%2f..", "%252e%252e%252f", "%5c..%5c", "....//", "/", "//", "%2f", ";x", "@h"]
TAILS = [
    "",
    "/cancel",
    "/input_items",
    "/../../models",
    "%2f..%2fmodels",
    "%00",
    "%0d%0aX-A:%20b",
    "?a=../..",
    "%3fa=b",
    "%23",
]
IDS = [*PARTS, "resp_1%20", "r\u00e9sp".encode().hex("%"), "%c3%a9", "%ff", "a" * 513, "*", "%7b%7d", "resp_1%0a"]


def test_no_id_leads_to_another_path(gateway, acme, upstream):
    """Traversals and encodings in the place of an id, and of the part after it."""
    paths = {f"/v1/responses/{part}{tail}" for part in IDS for tail in TAILS}
    paths |= {f"/v1/responses/resp_1/{part}{tail}" for part in IDS for tail in TAILS}
    assert len(paths) > 400
    before = len(upstream.lines())
    with closing(http.client.HTTPConnection(gateway.origin.removeprefix("http://"), timeout=10)) as connection:
        for path in sorted(paths):
            connection.request("GET", path, headers=acme.headers)
            answer = connection.getresponse()
            assert "error" in json.loads(answer.read()), path
            assert answer.status == 404 or (answer.status == 405 and path.endswith("/cancel")), path
    assert len([line for line in upstream.lines()[before:] if line.get("path") != "/v1/models"]) == 0


FAILURES = [
    (401, b'{"error":{"message":"bad key sk-proj-abcdefgh1234"}}', 502, "upstream_error"),
    (403, b"{}", 502, "upstream_error"), (500, b"<html>", 502, "upstream_error"), (301, b"", 502, "upstream_error"),
    (200, b"<html>", 502, "upstream_error"), (418, b"{}", 502, "upstream_error"), (408, b"", 504, "timeout"),
    (504, b"", 504, "timeout"), (429, b"{}", 503, "slow_down"),
    (429, b'{"error":{"code":"insufficient_quota","message":"x"}}', 502, "upstream_error"),
    (400, b'{"error":{"message":"Bad include of org-abcdefghijklmnop1234.","code":"c"}}', 400, "c"),
    (409, b'{"error":{"message":"Not now.","code":"busy"}}', 409, "busy"),
    (404, b'{"error":{"message":"x","code":"model_not_found"}}', 404, None),
]  # fmt: skip
CALLS = (("GET", ""), ("POST", "/cancel"), ("GET", "/input_items"), ("DELETE", ""))


def test_an_upstreams_failure_is_told_by_the_table(acme, words):
    headers = {"Set-Cookie": "a=b", "OpenAI-Organization": "org-theirs", "Retry-After": "7"}
    for (status, body, ours, code), (method, part) in itertools.product(FAILURES, CALLS):
        response_id = at_words(acme, words, status, headers, [body], parts=[part])
        response = ask(acme, method, response_id, part)
        case = (status, body, method, part)
        assert (response.status_code, response.json()["error"]["code"]) == (ours, code), case
        assert response.headers.get("retry-after") == ("7" if code == "slow_down" else None), case
        assert not {"set-cookie", "openai-organization"} & set(response.headers), case
        for secret in ("sk-proj-abc", "org-abc", "org-theirs"):
            assert secret not in response.text, case


KIND = "response.output_text.delta"
DELTA = f'event: {KIND}\ndata: {{"type":"{KIND}","sequence_number":%d,"delta":"你"}}\n\n'
EVENTS = [(DELTA % number).encode() for number in range(3, 9)]
ENDING = (
    b'event: response.completed\ndata: {"type":"response.completed","sequence_number":9,"response":{"id":"resp_1",'
    b'"status":"completed","usage":{"input_tokens":5,"output_tokens":6,"total_tokens":11}}}\n\n'
)
SSE = {"Content-Type": "text/event-stream", "X-Request-Id": "req_theirs"}


def test_a_replay_is_relayed_as_a_stream_byte_for_byte_and_never_billed(acme, words):
    go_on = threading.Event()
    sent = b"".join([*EVENTS, ENDING])
    response_id = at_words(acme, words, 200, SSE, [sent[:200], go_on, sent[200:]])
    url = f"{acme.url}/responses/{response_id}?stream=true&starting_after=2"
    with httpx.stream("GET", url, headers=acme.headers) as response:
        pieces = response.iter_raw()
        first = next(pieces)
        assert EVENTS[0].startswith(first[: len(EVENTS[0])])
        go_on.set()
        assert first + b"".join(pieces) == sent
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["x-request-id"] != "req_theirs"
    assert acme.records() == []


def test_a_replay_that_breaks_off_does_not_look_finished(acme, words):
    response_id = at_words(acme, words, 200, {**SSE, "Content-Length": "99999"}, [EVENTS[0], None])
    response = ask(acme, "GET", response_id, "?stream=true")
    assert response.content.startswith(EVENTS[0])
    assert [line for line in response.text.splitlines() if line.startswith("event:")][1:] == [
        "event: error", "event: response.failed",
    ]  # fmt: skip
    assert acme.records() == []


def test_a_stored_response_of_an_upstream_that_is_disabled(acme):
    upstream = Upstream.objects.create(
        name=uuid.uuid4().hex, base_url="https://a.invalid/v1", disabled_at=timezone.now()
    )
    assert ask(acme, "GET", own(acme, f"resp_{uuid.uuid4().hex}", upstream)).status_code == 502


def test_a_key_may_read_and_not_delete_or_delete_and_not_read(gateway, acme):
    response_id = made(acme)
    for scopes, allowed in ((["responses.read"], {"GET"}), (["responses"], {"DELETE", "POST"})):
        key, secret = APIKey.objects.issue(project=acme.project, name="narrow", allowed_endpoints=scopes)
        narrow = Tenant(acme.organization, acme.project, key, secret, acme.url)
        for method, rest in ROUTES[::-1]:
            refused = ask(narrow, method, response_id, rest).status_code == 401
            assert refused == (method not in allowed), (scopes, method, rest)


def answers(gateway):
    text = httpx.get(f"{gateway.origin}/metrics", headers={"Authorization": "Bearer metrics"}).text
    assert "resp_" not in text
    return {
        (sample.labels["route"], sample.labels["method"], sample.labels["status"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "tollgate_answers_total"
    }


def test_reads_are_counted_by_route_and_status_and_no_id_or_body_is_logged(gateway, acme, words):
    before = answers(gateway)
    response_id = made(acme, text="prompt-canary-8642")
    ask(acme, "GET", response_id)
    ask(acme, "GET", response_id, "/input_items")
    ask(acme, "GET", "resp_1")
    ask(acme, "PATCH", "resp_1")
    ask(acme, "GET", at_words(acme, words, 400, {}, [b'{"error":{"message":"body-canary-8642"}}']))
    httpx.get(f"{acme.url}/made-up-8642")
    after = answers(gateway)
    stored = "v1/responses/<str:response_id>"
    counted = {key: after[key] - before.get(key, 0) for key in after if after[key] != before.get(key, 0)}
    assert counted == {
        ("v1/responses", "POST", "200"): 1, (stored, "GET", "200"): 1, (f"{stored}/input_items", "GET", "200"): 1,
        (stored, "GET", "404"): 1, (stored, "other", "405"): 1, (stored, "GET", "400"): 1, ("", "", "404"): 1,
    }  # fmt: skip
    assert response_id not in gateway.log
    assert "canary-8642" not in gateway.log
