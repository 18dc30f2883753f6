"""Every ending has a row: upstreams that fail, break or fall silent, and clients that leave."""

import json
import socket
import time

import httpx
import pytest

from billing.models import UsageRecord
from gateway.local.simulator.identity import ORGANIZATION, PROJECT
from gateway.models import Upstream
from tests.gateway_process import GatewayProcess
from tests.tenants import Tenant, add_model, until

BROKEN_EVENT = {"type": "broken", "sequence_number": None}


def events_of(received):
    return [_decoded(line[6:]) for line in received.decode().split("\n") if line.startswith("data: {")]


def _decoded(data):
    try:
        return json.loads(data)
    except ValueError:
        return BROKEN_EVENT


def last_record(tenant):
    return until(lambda: UsageRecord.objects.filter(organization=tenant.organization).last())


# The upstream's answer before the first event: model, and the status, type and code that the tenant gets.
REFUSING = [
    *((f"sim-status-{status}", status, "invalid_request_error", None) for status in (400, 409, 413, 422)),
    ("sim-nonesuch", 404, "invalid_request_error", "model_not_found"),
    *((f"sim-status-{status}", 502, "server_error", "upstream_error") for status in (404, 405, 410, 415, 418, 451)),
    *((f"sim-status-{status}", 502, "server_error", "upstream_error") for status in (401, 402, 403)),
    *((f"sim-{way}", 502, "server_error", "upstream_error") for way in ("unauthorized", "forbidden", "quota")),
    ("sim-ratelimited-7", 503, "service_unavailable_error", "slow_down"),
    ("sim-status-429", 503, "service_unavailable_error", "slow_down"),
    *((f"sim-status-{status}", 504, "server_error", "timeout") for status in (408, 504)),
    *((f"sim-status-{status}", 502, "server_error", "upstream_error") for status in (500, 501, 502, 503, 507)),
    *((f"sim-html-{status}", 502, "server_error", "upstream_error") for status in (400, 404, 502)),
    ("sim-html-503.gzip", 502, "server_error", "upstream_error"), ("sim-gone", 502, "server_error", "upstream_error"),
]  # fmt: skip


@pytest.mark.parametrize("text", ["See rs_0123456789abcdef", "Hello"])
def test_what_is_named_and_gone_upstream_is_a_400(acme, text):
    """What the upstream calls not found is the tenant's to know where the tenant named it."""
    response = acme.ask("sim-gone", text)
    if text == "Hello":
        assert response.status_code == 502
        return
    assert (response.status_code, response.json()["error"]) == (400, {
        "message": "Item with id 'rs_0123456789abcdef' not found.", "type": "invalid_request_error", "param": "input",
        "code": None,
    })  # fmt: skip
    record = acme.record(response.headers["x-request-id"])
    assert (record.state, record.status) == ("void", 400)


def test_a_model_that_the_catalog_names_and_the_upstream_lacks_is_our_fault(gateway, acme):
    add_model("sim-missing", Upstream.objects.get(name="simulator"))
    response = until(lambda: (found := acme.ask("sim-missing")).status_code != 404 and found)
    assert (response.status_code, response.json()["error"]["code"]) == (502, "upstream_error")


@pytest.mark.parametrize("model", ["sim-garbage-200", "sim-html-200"])
@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_is_none_is_a_502(acme, model, stream):
    response = acme.ask(model, stream=stream)
    assert (response.status_code, response.json()["error"]["code"]) == (502, "upstream_error")
    assert acme.record(response.headers["x-request-id"]).flags == ["unanswered"]


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_cannot_be_read_costs_nothing_and_is_flagged(acme, stream):
    """The upstream may have done the work: nobody knows."""
    response = acme.ask("sim-gzip", stream=stream)
    assert (response.status_code, response.json()["error"]["code"]) == (502, "upstream_error")
    record = last_record(acme)
    assert (record.state, record.usage_source, record.cost_nano_usd) == ("settled", "estimated", 0)
    assert record.flags == ["unanswered"]


@pytest.mark.parametrize("stream", [False, True])
def test_an_upstream_that_refuses_leaves_a_void_record(acme, stream):
    for model, status, kind, code in REFUSING:
        response = acme.ask(model, stream=stream)
        error = response.json()["error"]
        assert (response.status_code, error["type"], code or error["code"]) == (status, kind, error["code"]), model
        assert set(error) == {"message", "type", "param", "code"}
        assert [word for word in (ORGANIZATION, PROJECT, "sk-upstream", "html") if word in response.text] == [], model
        record = acme.record(response.headers["x-request-id"])
        end = (record.state, record.usage_source, record.status, record.cost_nano_usd)
        assert end == ("void", "none", status, 0), model


def test_the_upstreams_retry_after_is_passed_on(acme):
    assert acme.ask("sim-ratelimited-7").headers["retry-after"] == "7"


def test_an_upstream_that_is_down_is_a_502_and_void(gateway, acme):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    down, _ = Upstream.objects.get_or_create(
        name="down", defaults={"base_url": f"http://127.0.0.1:{port}/v1", "allow_private": True}
    )
    add_model("down-model", down)
    response = until(lambda: (found := acme.ask("down-model")).status_code != 404 and found)
    assert response.status_code == 502
    record = acme.record(response.headers["x-request-id"])
    assert (record.state, record.status) == ("void", 502)


@pytest.mark.parametrize("way", ["reset", "close"])
def test_what_was_sent_and_never_answered_is_flagged_and_costs_nothing(acme, way):
    response = acme.ask(f"sim-noanswer-{way}")
    assert response.status_code == 502
    record = acme.record(response.headers["x-request-id"])
    assert (record.state, record.usage_source, record.cost_nano_usd) == ("settled", "estimated", 0)
    assert record.flags == ["unanswered"]


@pytest.mark.parametrize("index", [1, 2, 4, 6, 9])
@pytest.mark.parametrize("way", ["reset", "close", "half", "badjson"])
def test_a_stream_that_breaks_ends_as_a_visible_failure(acme, upstream, way, index):
    with acme.stream(f"sim-paced-8-1.cut-{way}-{index}") as response:
        received = response.read()
    request_id = response.headers["x-request-id"]
    events = events_of(received)
    assert [event["type"] for event in events[-2:]] == ["error", "response.failed"]
    assert all(event["sequence_number"] in {number, None} for number, event in enumerate(events))
    assert events[-1]["response"]["id"] == events[0]["response"]["id"]
    assert events[-1]["response"]["status"] == "failed"
    assert sum(event["type"].startswith("response.") and event["type"].split(".")[1] in
               {"completed", "failed", "incomplete"} for event in events) == 1  # fmt: skip
    relayed = received[: received.rindex(b"event: error")]
    assert upstream.sent(request_id).startswith(relayed)
    record = acme.record(request_id)
    deltas = received.count(b".delta\n")  # a delta whose JSON is broken is one, too
    if deltas:
        assert (record.state, record.usage_source, record.output_tokens) == ("settled", "estimated", deltas)
        assert record.flags == ["upstream_broke"]
        assert 0 < record.cost_nano_usd <= record.hold_nano_usd
    else:
        assert (record.state, record.cost_nano_usd) == ("void", 0)


def test_an_upstreams_own_error_event_is_followed_by_our_failure(acme):
    with acme.stream("sim-fail-error-6") as response:
        events = events_of(response.read())
    assert [event["type"] for event in events[-2:]] == ["error", "response.failed"]
    said = events[-2].get("error", events[-2])
    assert events[-1]["response"]["error"]["code"] == said["code"]
    assert events[-1]["sequence_number"] == events[-2]["sequence_number"] + 1


@pytest.mark.parametrize("model", ["sim-fail-plain-2", "sim-fail-nested-2", "sim-fail-flat-2"])
def test_a_failure_without_usage_and_output_is_void(acme, upstream, model):
    with acme.stream(model) as response:
        received = response.read()
    assert received == upstream.sent(response.headers["x-request-id"])
    record = acme.record(response.headers["x-request-id"])
    assert (record.state, record.status) == ("void", 200)


def test_a_failure_with_usage_is_billed_as_reported(acme, upstream):
    with acme.stream("sim-fail-usage-9") as response:
        response.read()
    request_id = response.headers["x-request-id"]
    record, usage = acme.record(request_id), upstream.ended(request_id)["usage"]
    assert (record.state, record.usage_source) == ("settled", "reported")
    assert record.output_tokens == usage["output_tokens"]


@pytest.mark.parametrize("shape", ["absent", "null", "negative", "absurd", "words"])
@pytest.mark.parametrize("stream", [False, True])
def test_usage_that_is_missing_or_impossible_is_estimated(acme, shape, stream):
    response = acme.ask(f"sim-usage-{shape}", stream=stream)
    assert response.status_code == 200
    record = acme.record(response.headers["x-request-id"])
    assert (record.state, record.usage_source) == ("settled", "estimated")
    assert "usage_absent" in record.flags
    assert record.input_tokens > 0


def test_usage_that_is_zero_is_zero(acme):
    record = acme.record(acme.ask("sim-usage-zero").headers["x-request-id"])
    assert (record.state, record.usage_source, record.cost_nano_usd) == ("settled", "reported", 0)


def test_the_first_ending_counts(acme):
    with acme.stream("sim-twice") as response:
        received = response.read()
    first = next(event for event in events_of(received) if event["type"] == "response.completed")
    record = acme.record(response.headers["x-request-id"])
    assert record.output_tokens == first["response"]["usage"]["output_tokens"]


@pytest.mark.parametrize("index", [0, 1, 3, 5, 9])
def test_a_client_that_leaves_is_read_on_for_and_billed_exactly(acme, upstream, index):
    with acme.stream("sim-paced-12-20") as response:
        request_id = response.headers["x-request-id"]
        lines = response.iter_lines()
        for _ in range(index):
            while next(lines) != "":
                pass
    record = acme.record(request_id)
    assert (record.state, record.usage_source) == ("settled", "drained")
    assert record.output_tokens == upstream.ended(request_id)["usage"]["output_tokens"] == 12


def test_a_client_that_leaves_a_plain_request_is_read_on_for(acme, upstream):
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{acme.url}/responses", headers=acme.headers, timeout=0.3,
            json={"model": "sim-paced-20-50", "input": "hi"},
        )  # fmt: skip
    record = last_record(acme)
    assert (record.state, record.usage_source, record.status, record.output_tokens) == ("settled", "drained", None, 20)


def test_a_drain_is_bounded_in_time(acme, upstream):
    with acme.stream("sim-hold-0-8") as response:
        request_id = response.headers["x-request-id"]
        next(response.iter_lines())
    left = time.monotonic()
    record = acme.record(request_id)
    assert 2 < time.monotonic() - left < 10  # the bound is 3 s here
    assert (record.state, record.usage_source, record.flags) == ("settled", "estimated", ["client_gone"])
    assert record.input_tokens > 0
    assert upstream.ended(request_id)["ending"] == "client_gone"


@pytest.fixture
def small_gateway(catalog, committed, tmp_path):
    """A gateway that reads on for one client at a time, and three more deltas."""
    bounds = {"TOLLGATE_DRAIN_STREAMS": "1", "TOLLGATE_DRAIN_OUTPUT_TOKENS": "3", "TOLLGATE_UPSTREAM_READ_SECONDS": "1"}
    with GatewayProcess(tmp_path, **bounds) as process:
        yield process


def test_a_drain_is_bounded_in_tokens_and_in_number(small_gateway, upstream):
    tenant = Tenant.make("small", small_gateway.url)
    with tenant.stream("sim-paced-100-20") as response:
        next(response.iter_lines())
    record = tenant.record(response.headers["x-request-id"])
    assert (record.usage_source, record.flags) == ("estimated", ["client_gone"])
    assert 3 < record.output_tokens < 50
    with tenant.stream("sim-hold-0-8") as first, tenant.stream("sim-hold-0-8") as second:
        next(first.iter_lines())
        next(second.iter_lines())
    ends = [upstream.ended(stream.headers["x-request-id"])["ending"] for stream in (first, second)]
    assert ends == ["client_gone", "client_gone"]


def test_a_silent_upstream_is_a_504_before_and_a_failure_after_the_first_event(small_gateway):
    tenant = Tenant.make("silent", small_gateway.url)
    response = tenant.ask("sim-noanswer-stall")
    assert response.status_code == 504
    assert tenant.record(response.headers["x-request-id"]).flags == ["unanswered"]
    with tenant.stream("sim-cut-stall-7") as stream:
        events = events_of(stream.read())
    assert events[-1]["type"] == "response.failed"
    assert tenant.record(stream.headers["x-request-id"]).flags == ["upstream_broke"]


def test_a_stopping_gateway_finishes_what_it_can_and_ends_the_rest_visibly(catalog, committed, upstream, tmp_path):
    with GatewayProcess(tmp_path, TOLLGATE_SHUTDOWN_SECONDS="2") as process:
        tenant = Tenant.make("drained", process.url)
        with tenant.stream("sim-paced-40-20") as short, tenant.stream("sim-hold-0-8") as endless:
            streams = short.iter_raw(), endless.iter_raw()
            began = [next(stream) for stream in streams]
            process.terminate()
            finished, cut = (first + b"".join(rest) for first, rest in zip(began, streams, strict=True))
    assert events_of(finished)[-1]["type"] == "response.completed"
    assert events_of(cut)[-1]["response"]["error"]["code"] == "server_shutdown"
    assert tenant.record(short.headers["x-request-id"]).usage_source == "reported"
    record = tenant.record(endless.headers["x-request-id"])
    assert (record.state, record.usage_source, record.flags) == ("settled", "estimated", ["cancelled"])
