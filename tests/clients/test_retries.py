"""What the official SDK, as it is shipped, sends again: counted where it arrives."""

import asyncio
import itertools
import uuid

import httpx
import openai
import pytest

from tests.clients.sdk import Place, client_of, done, every
from tests.quotas import set_quota


@pytest.fixture(params=["sync", "async"])
def form(request):
    return request.param


@pytest.fixture
def place(acme):
    return Place("gateway", acme.url, acme.secret)


def failure(form, place, **asked):
    """The error that a request ends with, once the SDK has done its two retries or seen no use in them."""

    async def ask():
        client = client_of(form, place, max_retries=openai.DEFAULT_MAX_RETRIES)
        try:
            answer = await done(client.responses.create(input="hi", **asked))
            await every(answer)
        except openai.OpenAIError as error:
            return error
        finally:
            await done(client.close())
        raise AssertionError("no error")

    return asyncio.run(ask())


def retry_counts(tenant):
    """The `x-stainless-retry-count` of each request that was admitted."""
    return [record.retry_count for record in tenant.records()]


def test_out_of_quota_is_one_request(form, place, acme, gateway):
    set_quota("cost", 0, organization=acme.organization)
    before = refused(gateway, "insufficient_quota")
    error = failure(form, place, model="gpt-4.1", max_output_tokens=16)
    assert (type(error), error.code) == (openai.RateLimitError, "insufficient_quota")
    assert refused(gateway, "insufficient_quota") == before + 1
    assert retry_counts(acme) == []


def test_an_overloaded_upstream_is_asked_again_after_the_time_it_names(form, place, acme):
    error = failure(form, place, model="sim-ratelimited-1")
    assert (error.status_code, error.code, error.response.headers["retry-after"]) == (503, "slow_down", "1")
    assert retry_counts(acme) == [0, 1, 2]
    times = [record.created_at for record in acme.records()]
    assert all((later - earlier).total_seconds() > 0.9 for earlier, later in itertools.pairwise(times))


@pytest.mark.parametrize("status", [400, 422])
def test_a_refused_request_is_one_request(form, place, acme, status):
    error = failure(form, place, model=f"sim-status-{status}")
    assert error.status_code == status
    assert retry_counts(acme) == [0]


@pytest.mark.parametrize("way", ["fail-nested", "cut-reset", "fail-silent"])
def test_a_stream_that_has_begun_is_not_asked_for_again(form, place, acme, way):
    assert failure(form, place, model=f"sim-ok.{way}-4", stream=True)
    assert retry_counts(acme) == [0]


def test_straight_at_the_upstream_the_count_is_the_same(form, upstream):
    name = uuid.uuid4().hex
    place = Place("simulator", upstream.url, "sk-any")
    error = failure(form, place, model="sim-status-503-1", extra_headers={"X-Client-Request-Id": name})
    assert error.status_code == 503
    arrived = [line for line in upstream.lines_of(name) if line["kind"] == "arrived"]
    assert [line["headers"]["x-stainless-retry-count"] for line in arrived] == ["0", "1", "2"]


def refused(gateway, reason):
    """How many requests it has refused for that reason."""
    text = httpx.get(f"{gateway.origin}/metrics", headers={"Authorization": "Bearer metrics"}).text
    name = f'tollgate_refused_requests_total{{reason="{reason}"}}'
    return next((float(line.split()[-1]) for line in text.splitlines() if line.startswith(name)), 0)
