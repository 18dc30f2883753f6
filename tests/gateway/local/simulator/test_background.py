import asyncio
import json

import httpx
import pytest
from openai import BadRequestError, NotFoundError
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from gateway.local.simulator import Simulator
from gateway.local.simulator.background import FOLLOWED
from tests.gateway.local.simulator.asking import CHINESE, ECHO, ECHO_TOKENS, account, asking, events_in, said

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(60)]

EVENT = TypeAdapter(ResponseStreamEvent)
STREAMED = {"background": True, "stream": True}


async def finished(simulator, response_id):
    return await simulator.log.wait_for(lambda line: line["kind"] == "finished" and line["response_id"] == response_id)


async def begin(client, model, **more):
    """What was answered at once."""
    answer = await client.post("/responses", json=asking(model, background=True, **more))
    return answer.json()


async def followed(client, response_id, query=""):
    answer = await client.get(f"/responses/{response_id}?stream=true{query}")
    assert answer.status_code == 200, answer.text
    return [json.loads(data) for _, data in events_in(answer.content)]


async def test_a_response_is_queued_then_made_then_complete(simulator, sdk):
    queued = await sdk.responses.create(model="sim-hold-0-1.hold-0-8", input=CHINESE, background=True)
    assert (queued.status, queued.background, queued.usage, queued.output) == ("queued", True, None, [])
    await simulator.holds.until(1)
    assert await sdk.responses.retrieve(queued.id) == queued
    simulator.holds.release(queued.id)
    made = queued
    while made.status == "queued":
        made = await sdk.responses.retrieve(queued.id)
    assert (made.status, made.usage, made.output) == ("in_progress", None, [])
    assert len((await sdk.responses.input_items.list(queued.id)).data) == 1
    simulator.holds.release(queued.id)
    line = await finished(simulator, queued.id)
    ended = await sdk.responses.retrieve(queued.id)
    assert (ended.status, ended.output_text, ended.created_at) == ("completed", ECHO, queued.created_at)
    assert (line["ending"], line["usage"]["output_tokens"]) == ("completed", len(ECHO_TOKENS))
    assert ended.usage.to_dict() == line["usage"]


async def test_a_background_response_is_kept_though_nothing_shall_be_stored(simulator, sdk):
    made = await sdk.responses.create(model="gpt-4.1", input=CHINESE, background=True, store=False)
    await finished(simulator, made.id)
    ended = await sdk.responses.retrieve(made.id)
    assert (ended.status, ended.to_dict()["store"]) == ("completed", False)


async def test_it_may_be_continued_once_it_has_ended(simulator, sdk):
    made = await sdk.responses.create(model="gpt-4.1", input=CHINESE, background=True)
    line = await finished(simulator, made.id)
    second = await sdk.responses.create(model="gpt-4.1", input="1234", previous_response_id=made.id)
    assert second.usage.input_tokens == line["usage"]["total_tokens"] + 1


@pytest.mark.parametrize("after", [1, 2, 8])
async def test_what_is_being_made_can_be_cancelled(simulator, sdk, after):
    made = await sdk.responses.create(model=f"sim-hold-0-{after}", input=CHINESE, background=True)
    await simulator.holds.until(1)
    cancelled = await sdk.responses.cancel(made.id)
    assert (cancelled.status, cancelled.usage, cancelled.output) == ("cancelled", None, [])
    line = await finished(simulator, made.id)
    assert (line["ending"], line["usage"]) == ("cancelled", None)
    assert await sdk.responses.retrieve(made.id) == cancelled
    assert await sdk.responses.cancel(made.id) == cancelled
    await simulator.holds.until(0)


async def test_what_was_only_just_queued_can_be_cancelled(simulator, sdk):
    made = await sdk.responses.create(model="sim-delay-60000", input=CHINESE, background=True)
    assert (await sdk.responses.cancel(made.id)).status == "cancelled"
    assert (await finished(simulator, made.id))["ending"] == "cancelled"
    assert (await sdk.responses.retrieve(made.id)).status == "cancelled"


async def test_cancelling_what_has_ended_changes_nothing(simulator, sdk):
    made = await sdk.responses.create(model="gpt-4.1", input=CHINESE, background=True)
    await finished(simulator, made.id)
    ended = await sdk.responses.retrieve(made.id)
    assert await sdk.responses.cancel(made.id) == ended


async def test_what_is_deleted_is_not_made_any_further(simulator, sdk):
    made = await sdk.responses.create(model="sim-hold", input=CHINESE, background=True)
    await simulator.holds.until(1)
    await sdk.responses.delete(made.id)
    await finished(simulator, made.id)
    with pytest.raises(NotFoundError):
        await sdk.responses.retrieve(made.id)
    with pytest.raises(NotFoundError):
        await sdk.responses.cancel(made.id)


async def test_a_stream_begins_with_the_queue_and_can_be_had_again(simulator, client):
    answer = await client.post("/responses", json=asking("sim-reasoning.tool", **STREAMED))
    events = [json.loads(data) for _, data in events_in(answer.content)]
    for event in events:
        EVENT.validate_python(event)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    opening = [(event["type"], event["response"]["status"]) for event in events[:3]]
    assert opening == [
        ("response.created", "queued"), ("response.queued", "queued"), ("response.in_progress", "in_progress")
    ]  # fmt: skip
    response_id = events[0]["response"]["id"]
    assert await followed(client, response_id) == events
    for after in (0, 5, len(events) - 2, len(events) - 1, len(events) + 5):
        assert await followed(client, response_id, f"&starting_after={after}") == events[after + 1 :]
    plain = await followed(client, response_id, "&include_obfuscation=false")
    assert not any("obfuscation" in event for event in plain)
    assert len(plain) == len(events)
    posted, *read = simulator.log.ended()
    assert (posted["ending"], posted["billable"], posted["usage"]) == (
        "completed", True, events[-1]["response"]["usage"]
    )  # fmt: skip
    assert {(line["endpoint"], line["billable"], "usage" in line) for line in read} == {("retrieve", False, False)}


async def test_a_client_that_left_finds_the_stream_again_while_it_is_made(simulator, sdk, client):
    async with await sdk.responses.create(model="sim-hold-0-6", input=CHINESE, **STREAMED) as left:
        first = [await anext(left) for _ in range(6)]
    response_id = first[0].response.id
    await simulator.log.wait_for(lambda line: line.get("ending") == "client_gone")
    again = await sdk.responses.retrieve(response_id, stream=True, starting_after=3)
    rest = [await anext(again) for _ in range(2)]
    assert rest == first[4:]
    assert (await sdk.responses.retrieve(response_id)).status == "in_progress"
    simulator.holds.release(response_id)
    rest += [event async for event in again]
    assert [event.sequence_number for event in rest] == list(range(4, 4 + len(rest)))
    assert (rest[-1].type, rest[-1].response.output_text) == ("response.completed", ECHO)
    assert (await finished(simulator, response_id))["ending"] == "completed"


@pytest.mark.parametrize("way", ["reset", "close", "half"])
async def test_a_cut_is_the_streams_alone(simulator, client, way):
    with pytest.raises(httpx.TransportError):
        await client.post("/responses", json=asking(f"sim-cut-{way}-6", **STREAMED))
    ended = await simulator.log.wait_for(lambda line: line["kind"] == "ended")
    assert (ended["ending"], ended["events"], "usage" in ended) == ("cut", 6, False)
    assert (await finished(simulator, ended["response_id"]))["ending"] == "completed"
    assert said(await followed(client, ended["response_id"])) == ECHO


@pytest.mark.parametrize("model", ["sim-fail-silent", "sim-fail-error", "sim-fail-nested", "sim-fail-usage"])
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_breaks_has_failed(simulator, client, model, stream):
    await client.post("/responses", json=asking(model, background=True, stream=stream))
    line = await simulator.log.wait_for(lambda line: line["kind"] == "finished")
    stored = (await client.get(f"/responses/{line['response_id']}")).json()
    assert (line["ending"], stored["status"], stored["usage"]) == ("failed", "failed", line["usage"])
    assert stored["error"]["code"] == "server_error"


async def test_only_what_was_streamed_in_the_background_is_streamed_again(simulator, sdk):
    plain = await sdk.responses.create(model="gpt-4.1", input=CHINESE)
    background = await sdk.responses.create(model="gpt-4.1", input=CHINESE, background=True)
    for made, missing in ((plain, "background=true"), (background, "stream=true")):
        with pytest.raises(NotFoundError, match=f"not created with {missing}"):
            await sdk.responses.retrieve(made.id, stream=True)
    with pytest.raises(NotFoundError, match="Response with id"):
        await sdk.responses.retrieve("resp_x", stream=True)


@pytest.mark.parametrize(("after", "code"), [("-1", "integer_below_min_value"), ("x", "invalid_type")])
async def test_a_stream_begins_at_a_number(simulator, client, after, code):
    await client.post("/responses", json=asking("gpt-4.1", **STREAMED))
    response_id = simulator.log.ended()[0]["response_id"]
    refused = await client.get(f"/responses/{response_id}?stream=true&starting_after={after}")
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["param"]) == (400, code, "starting_after")


async def test_streams_are_forgotten_before_their_responses(simulator, sdk):
    oldest = await sdk.responses.create(model="gpt-4.1", input=CHINESE, background=True)
    await finished(simulator, oldest.id)
    for _ in range(FOLLOWED):
        made = await sdk.responses.create(model="gpt-4.1", input="x", background=True)
        await finished(simulator, made.id)
    assert (await sdk.responses.retrieve(oldest.id)).status == "completed"
    with pytest.raises(BadRequestError, match="more than 5 minutes old"):
        await sdk.responses.retrieve(oldest.id, stream=True)


async def test_another_account_can_neither_follow_nor_cancel():
    async with Simulator() as simulator, account(simulator, "sk-one") as mine, account(simulator, "sk-two") as other:
        made = await mine.responses.create(model="sim-hold", input=CHINESE, background=True)
        await simulator.holds.until(1)
        for ask in (other.responses.cancel, other.responses.delete, other.responses.retrieve):
            with pytest.raises(NotFoundError):
                await ask(made.id)
        with pytest.raises(NotFoundError):
            await other.responses.retrieve(made.id, stream=True)
        simulator.holds.release()
        assert (await finished(simulator, made.id))["ending"] == "completed"


async def test_stopping_ends_what_is_being_made():
    async with Simulator() as simulator, account(simulator, "sk-one") as sdk:
        made = await sdk.responses.create(model="sim-hold", input=CHINESE, background=True)
        followers = [asyncio.create_task(sdk.responses.retrieve(made.id)) for _ in range(2)]
        await asyncio.gather(*followers)
        await simulator.holds.until(1)
    assert simulator.log.entries[-1]["kind"] == "finished"
    assert simulator.log.entries[-1]["ending"] == "stopped"
