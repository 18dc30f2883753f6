"""What an upstream says of our account stays with us, wherever in an answer it says it."""

import json
import re

import pytest

from gateway.local.simulator.identity import ORGANIZATION, PROJECT
from tests.tenants import UPSTREAM_KEY, until

MESSAGE = re.compile(rb'"message":\s*"[^"]*"')
SECRETS = (ORGANIZATION, PROJECT, UPSTREAM_KEY, "127.0.0.1")


@pytest.mark.parametrize("cut", ["ok", "pieces-5", "multiline", "crlf.nospace", "whole"])
@pytest.mark.parametrize("failure", ["leak", "quota"])
def test_a_failure_in_a_stream_is_relayed_without_what_names_our_account(acme, upstream, failure, cut):
    with acme.stream(f"sim-{cut}.fail-{failure}-6") as response:
        received = response.read()
    sent = upstream.sent(response.headers["x-request-id"]).replace(b"\r", b"")
    assert [secret for secret in SECRETS if secret.encode() in received] == []
    assert MESSAGE.sub(b"", received) == MESSAGE.sub(b"", sent)
    assert len(MESSAGE.findall(received)) == 2


def test_what_remains_of_the_text_can_be_read(acme):
    with acme.stream("sim-fail-leak-6") as response:
        error, failed = (json.loads(line[6:]) for line in response.read().split(b"\n") if b'"message":' in line)
    assert error["message"] == failed["response"]["error"]["message"]
    assert error["message"] == (
        "You exceeded your current quota, please check your plan and billing details. Organization org-[redacted], "
        "project proj_[redacted], API key [redacted]. See http://[upstream]/v1/organizations/org-[redacted]?key="
        "[redacted] or ask 助手."
    )


@pytest.mark.parametrize("model", ["sim-fail-leak-6", "sim-fail-quota-6"])
def test_a_plain_answer_that_failed_names_our_account_no_more(acme, model):
    response = acme.ask(model)
    assert (response.status_code, response.json()["status"]) == (200, "failed")
    assert [secret for secret in SECRETS if secret in response.text] == []
    assert "[redacted]" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    "model", ["sim-fail-quota-6", "sim-quota", "sim-unauthorized", "sim-forbidden", "sim-status-402"]
)
@pytest.mark.parametrize("stream", [False, True])
def test_staff_are_alarmed_where_our_account_is_refused(gateway, acme, model, stream):
    before = alarms(gateway)
    acme.ask(model, stream=stream)
    until(lambda: alarms(gateway) == before + 1)
    assert "refuses our account" in gateway.log
    assert UPSTREAM_KEY not in gateway.log


def alarms(gateway):
    return gateway.metric("tollgate_alarms_total", reason="upstream_account")
