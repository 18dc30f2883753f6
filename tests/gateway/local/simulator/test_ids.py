import asyncio
import re

import pytest

from tests.gateway.local.simulator.asking import CHINESE, ECHO, asking, said, stream

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(60)]

HEX_ID = re.compile(r"[a-z]+_[0-9a-f]{48}")


@pytest.mark.parametrize("form", ["long", "alike", "same-a"])
async def test_all_events_agree_on_ids_of_any_form(client, form):
    events = await stream(client, f"sim-ids-{form}.reasoning.tool.search")
    ended = events[-1]["response"]
    assert {event["response"]["id"] for event in events if "response" in event} == {ended["id"]}
    done = [event["item"]["id"] for event in events if event["type"] == "response.output_item.done"]
    added = [event["item"]["id"] for event in events if event["type"] == "response.output_item.added"]
    assert [item["id"] for item in ended["output"]] == done == added
    assert {event["item_id"] for event in events if "item_id" in event} <= set(done)
    assert len(set(done)) == len(done)


async def test_long_ids_have_no_prefix_and_odd_letters(client):
    first, second = [(await client.post("/responses", json=asking("sim-ids-long"))).json() for _ in range(2)]
    ids = [first["id"], second["id"], first["output"][0]["id"], second["output"][0]["id"]]
    assert len(set(ids)) == 4
    for made in ids:
        assert re.fullmatch(r"[A-Za-z0-9_-]{200,512}", made)
        assert "-" in made
        assert "_" in made
        assert not HEX_ID.fullmatch(made)


async def test_alike_ids_differ_by_their_last_digits(client):
    answer = (await client.post("/responses", json=asking("sim-ids-alike.reasoning"))).json()
    assert HEX_ID.fullmatch(answer["id"])
    for item in answer["output"]:
        assert re.fullmatch(r"resp_[0-9a-f]{48}", item["id"])
        assert (item["id"] != answer["id"], item["id"][:40]) == (True, answer["id"][:40])


@pytest.mark.parametrize("form", ["long", "alike"])
async def test_what_is_stored_has_the_ids_that_were_told(sdk, form):
    made = await sdk.responses.create(model=f"sim-ids-{form}", input=CHINESE)
    assert await sdk.responses.retrieve(made.id) == made
    reference = [{"type": "item_reference", "id": made.output[0].id}]
    continued = await sdk.responses.create(model="gpt-4.1", input=reference, previous_response_id=made.id)
    assert continued.usage.input_tokens > made.usage.total_tokens
    await sdk.responses.delete(made.id)


async def test_a_repeated_id_is_given_to_everybody_and_keeps_its_first_response(simulator, client):
    made = [
        (await client.post("/responses", json=asking(f"sim-ids-same-{name}", input=text))).json()["id"]
        for name, text in (("a", "first"), ("a", "second"), ("b", "other"))
    ]
    assert made[0] == made[1] != made[2]
    events = await stream(client, "sim-ids-same-a", input="streamed")
    assert (events[0]["response"]["id"], said(events)) == (made[0], "You said: streamed")
    stored = (await client.get(f"/responses/{made[0]}")).json()
    assert stored["output"][0]["content"][0]["text"] == "You said: first"
    assert [line["response_id"] for line in simulator.log.ended()[:3]] == made


async def test_of_two_at_once_with_one_id_the_first_to_begin_is_stored(simulator, client):
    first = asyncio.create_task(client.post("/responses", json=asking("sim-hold.ids-same", stream=True)))
    await simulator.holds.until(1)
    second = (await client.post("/responses", json=asking("sim-ids-same", input="second"))).json()
    simulator.holds.release()
    await first
    stored = (await client.get(f"/responses/{second['id']}")).json()
    assert stored["output"][0]["content"][0]["text"] == ECHO
