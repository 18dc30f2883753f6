"""Every refusal and failure is the SDK's own class, told apart as OpenAI's are."""

import httpx2
import openai
import pytest

from gateway.local.simulator.identity import ORGANIZATION, PROJECT
from tests.clients.sdk import Place, client_of, done, every, raised
from tests.tenants import UPSTREAM_KEY, Tenant

BROKEN = openai.InternalServerError
# What the upstream answers, the class an SDK raises straight at it, and the class and status through the gateway.
UPSTREAM_ERRORS = [
    ("sim-status-400", openai.BadRequestError, openai.BadRequestError, 400),
    ("sim-unauthorized", openai.AuthenticationError, BROKEN, 502),
    ("sim-forbidden", openai.PermissionDeniedError, BROKEN, 502),
    ("sim-status-422", openai.UnprocessableEntityError, openai.UnprocessableEntityError, 422),
    ("sim-quota", openai.RateLimitError, BROKEN, 502),
    ("sim-ratelimited-1", openai.RateLimitError, BROKEN, 503),
    ("sim-status-408", openai.APIStatusError, BROKEN, 504),
    ("sim-status-409", openai.ConflictError, openai.ConflictError, 409),
    ("sim-status-418", openai.APIStatusError, BROKEN, 502),
    ("sim-status-500", BROKEN, BROKEN, 502),
    ("sim-status-503", BROKEN, BROKEN, 502),
    ("sim-status-504", BROKEN, BROKEN, 504),
    ("sim-html-502", BROKEN, BROKEN, 502),
]
SECRETS = (ORGANIZATION, PROJECT, UPSTREAM_KEY, "<html")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("refusal", UPSTREAM_ERRORS, ids=lambda refusal: refusal[0])
async def test_what_the_upstream_refuses(sdk, place, refusal, stream):
    model, straight, through, status = refusal
    expected = through if place.is_gateway else straight
    error = await raised(lambda: sdk.responses.create(model=model, input="hi", stream=stream), expected)
    if place.is_gateway:
        assert error.status_code == status
        assert error.request_id
        assert not any(secret in error.message for secret in SECRETS), error.message


async def test_an_answer_that_is_no_json_is_a_failure(sdk, place):
    if place.is_gateway:
        error = await raised(lambda: sdk.responses.create(model="sim-garbage", input="hi"), BROKEN)
        assert error.status_code == 502


async def test_a_wrong_body_names_its_parameter(responses):
    cold = await raised(lambda: responses.create(model="gpt-4.1", input="hi", temperature=-1), openai.BadRequestError)
    assert (cold.param, cold.status_code) == ("temperature", 400)
    unknown = await raised(lambda: responses.create(model="nonesuch", input="hi"), openai.NotFoundError)
    assert (unknown.code, unknown.type) == ("model_not_found", "invalid_request_error")


async def test_an_unknown_id_to_continue_from_is_a_bad_request(responses):
    asked = {"model": "gpt-4.1", "input": "hi", "previous_response_id": "resp_nobodys"}
    error = await raised(lambda: responses.create(**asked), openai.BadRequestError)
    assert (error.code, error.param) == ("previous_response_not_found", "previous_response_id")


async def test_an_unknown_address_is_not_found(sdk):
    await raised(lambda: sdk.post("/nonesuch", cast_to=object), openai.NotFoundError)


# What only the gateway refuses


@pytest.fixture(params=["sync", "async"])
def form(request):
    return request.param


async def with_key(form, place, ask):
    client = client_of(form, place)
    try:
        return await ask(client)
    finally:
        await done(client.close())


async def test_a_wrong_key_is_an_authentication_error(form, acme):
    place = Place("gateway", acme.url, "sk-wrong")
    error = await with_key(form, place, lambda sdk: raised(sdk.models.list, openai.AuthenticationError))
    assert error.code == "invalid_api_key"


@pytest.fixture
def narrow(gateway, committed):
    """A tenant whose key is for one model."""
    return Tenant.make("narrow", gateway.url, allowed_models=["gpt-4.1"])


async def test_a_model_that_the_key_may_not_use_is_a_denied_permission(form, narrow):
    place = Place("gateway", narrow.url, narrow.secret)

    async def ask(sdk):
        return await raised(lambda: sdk.responses.create(model="o3-pro", input="hi"), openai.PermissionDeniedError)

    error = await with_key(form, place, ask)
    assert (error.code, error.param) == ("model_not_found", "model")


@pytest.mark.parametrize("field", [{"background": True}, {"conversation": "conv_1"}])
async def test_what_is_not_served_is_a_bad_request_that_names_the_parameter(form, acme, field):
    async def ask(sdk):
        return await raised(lambda: sdk.responses.create(model="gpt-4.1", input="hi", **field), openai.BadRequestError)

    error = await with_key(form, Place("gateway", acme.url, acme.secret), ask)
    assert error.param == next(iter(field))


@pytest.mark.parametrize("model", ["sim-noanswer-close", "sim-noanswer-reset"])
async def test_an_upstream_that_says_nothing_is_a_failure(sdk, place, model):
    kind = BROKEN if place.is_gateway else openai.APIConnectionError
    await raised(lambda: sdk.responses.create(model=model, input="hi"), kind)


async def test_a_client_that_will_not_wait_times_out(sdk):
    patience = httpx2.Timeout(5, read=0.05)
    await raised(
        lambda: sdk.responses.create(model="sim-delay-20000", input="hi", timeout=patience), openai.APITimeoutError
    )


async def test_a_refused_stream_is_refused_before_its_first_event(responses):
    async def ask():
        return await every(await done(responses.create(model="nonesuch", input="hi", stream=True)))

    await raised(ask, openai.NotFoundError)
