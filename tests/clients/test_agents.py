"""The Agents SDK: a tool loop of several turns, however it keeps what was said before."""

import importlib

import openai
import pytest
import pytest_asyncio

from tests.clients.sdk import Place, client_of, done
from tests.clients.test_broken_streams import AT, WAYS

ENCRYPTED = "reasoning.encrypted_content"


@pytest.fixture(scope="session")
def forecaster():
    return importlib.import_module("tests.clients.agent").Forecaster


@pytest_asyncio.fixture
async def client(place):
    client = client_of("async", place)
    yield client
    await done(client.close())


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("store", [None, True, False])
async def test_the_history_is_sent_again_each_turn(forecaster, client, store, streamed):
    agent = forecaster(client, store=store)
    first = await agent.run("Weather?", streamed=streamed)
    assert first.final_output == "The tool said: sunny, day 1"
    assert (len(agent.cities), len(first.raw_responses)) == (1, 2)
    history = [*first.to_input_list(), {"role": "user", "content": "And tomorrow?"}]
    second = await agent.run(history, streamed=streamed)
    assert second.final_output == "The tool said: sunny, day 1"
    third = await agent.run([*second.to_input_list(), {"role": "user", "content": "Then?"}], streamed=streamed)
    assert third.raw_responses[-1].usage.input_tokens > first.raw_responses[-1].usage.input_tokens > 0


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("model", ["sim-reasoning.tool", "sim-reasoning.tool-2"])
async def test_reasoning_is_replayed_encrypted(forecaster, client, model, streamed):
    agent = forecaster(client, model, store=False, include=(ENCRYPTED,))
    first = await agent.run("Weather?", streamed=streamed)
    replayed = first.to_input_list()
    assert any(item.get("encrypted_content") for item in replayed)
    second = await agent.run([*replayed, {"role": "user", "content": "And tomorrow?"}], streamed=streamed)
    assert second.final_output


@pytest.mark.parametrize("streamed", [False, True])
async def test_the_upstream_keeps_the_history(forecaster, client, streamed):
    agent = forecaster(client)
    first = await agent.run("Weather?", streamed=streamed, auto_previous_response_id=True)
    assert first.final_output == "The tool said: sunny, day 1"
    last = first.last_response_id
    second = await agent.run("Again?", streamed=streamed, previous_response_id=last, auto_previous_response_id=True)
    assert second.final_output
    shown = await client.responses.retrieve(second.last_response_id)
    assert shown.previous_response_id


@pytest.mark.parametrize("way", WAYS)
async def test_a_broken_stream_is_no_finished_run(forecaster, acme, way):
    async with client_of("async", Place("gateway", acme.url, acme.secret)) as client:
        for at in AT:
            agent = forecaster(client, f"sim-ok.{way}-{at}")
            with pytest.raises(Exception) as failure:  # noqa: PT011 - its own classes, of which some are bare
                await agent.run("Hello", streamed=True)
            assert not isinstance(failure.value, AssertionError)


async def test_a_refusal_is_the_sdks_own_error(forecaster, client):
    agent = forecaster(client, "nonesuch")
    with pytest.raises(openai.NotFoundError):
        await agent.run("Hello")
