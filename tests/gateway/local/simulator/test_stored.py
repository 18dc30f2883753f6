import contextlib

import httpx
import pytest
from openai import BadRequestError, NotFoundError

from gateway.local.simulator import Simulator
from tests.gateway.local.simulator.asking import CHINESE, ECHO_TOKENS, account, asking

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(60)]

CONVERSATION = [
    {"role": "developer", "content": "Be brief."},
    {"role": "user", "content": "before", "id": "msg_mine"},
    {"role": "assistant", "content": "said before"},
    {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "call_1", "output": "sunny"},
    {"role": "user", "content": [{"type": "input_text", "text": CHINESE}]},
]


async def test_a_response_is_shown_as_it_was_answered_until_it_is_deleted(sdk):
    answered = await sdk.responses.create(model="gpt-4.1", input=CHINESE, metadata={"a": "b"})
    assert await sdk.responses.retrieve(answered.id) == answered
    assert await sdk.responses.delete(answered.id) is None
    with pytest.raises(NotFoundError) as refused:
        await sdk.responses.retrieve(answered.id)
    assert refused.value.body == {
        "message": f"Response with id '{answered.id}' not found.",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }


async def test_deleting_says_what_was_deleted_once(sdk, client):
    answered = await sdk.responses.create(model="gpt-4.1", input=CHINESE)
    deleted = await client.delete(f"/responses/{answered.id}")
    assert deleted.json() == {"id": answered.id, "object": "response", "deleted": True}
    again = await client.delete(f"/responses/{answered.id}")
    assert (again.status_code, again.json()["error"]["message"]) == (
        404,
        f"Response with id '{answered.id}' not found.",
    )


async def test_another_account_finds_nothing(accounts):
    mine, other = accounts
    answered = await mine.responses.create(model="gpt-4.1", input=CHINESE)
    for ask in (
        lambda: other.responses.retrieve(answered.id),
        lambda: other.responses.delete(answered.id),
        lambda: other.responses.cancel(answered.id),
        lambda: other.responses.input_items.list(answered.id),
    ):
        with pytest.raises(NotFoundError, match=f"Response with id '{answered.id}' not found"):
            await ask()
    assert (await mine.responses.retrieve(answered.id)).id == answered.id


async def test_a_response_that_was_not_made_in_the_background_cannot_be_cancelled_or_replayed(sdk):
    answered = await sdk.responses.create(model="gpt-4.1", input=CHINESE)
    with pytest.raises(BadRequestError, match="Cannot cancel a synchronous response"):
        await sdk.responses.cancel(answered.id)
    with pytest.raises(NotFoundError, match="cannot be streamed"):
        await sdk.responses.retrieve(answered.id, stream=True, starting_after=3)


async def test_the_input_is_listed_newest_first_with_an_id_for_every_item(sdk):
    answered = await sdk.responses.create(model="gpt-4.1", input=CONVERSATION)
    newest = await sdk.responses.input_items.list(answered.id)
    oldest = await sdk.responses.input_items.list(answered.id, order="asc")
    assert newest.data == oldest.data[::-1]
    assert [item.type for item in oldest.data] == [
        "message", "message", "message", "function_call", "function_call_output", "message"
    ]  # fmt: skip
    assert oldest.data[1].id == "msg_mine"
    assert len({item.id for item in oldest.data}) == 6
    texts = [item.content[0].to_dict() for item in oldest.data if item.type == "message"]
    assert [(text["type"], text["text"]) for text in texts] == [
        ("input_text", "Be brief."),
        ("input_text", "before"),
        ("output_text", "said before"),
        ("input_text", CHINESE),
    ]


async def test_a_plain_text_is_listed_as_a_message(sdk):
    answered = await sdk.responses.create(model="gpt-4.1", input=CHINESE)
    (item,) = (await sdk.responses.input_items.list(answered.id)).data
    assert (item.type, item.role, item.content[0].text) == ("message", "user", CHINESE)


@pytest.mark.parametrize(("order", "limit", "pages"), [("asc", 2, 3), ("desc", 4, 2), ("asc", 6, 1), ("desc", 5, 2)])
async def test_the_sdk_walks_the_pages_to_the_end(sdk, order, limit, pages):
    answered = await sdk.responses.create(model="gpt-4.1", input=CONVERSATION)
    whole = await sdk.responses.input_items.list(answered.id, order=order, limit=100)
    page = await sdk.responses.input_items.list(answered.id, order=order, limit=limit)
    walked, seen = 1, list(page.data)
    while page.has_next_page():
        page = await page.get_next_page()
        walked, seen = walked + 1, seen + page.data
    assert (walked, seen) == (pages, whole.data)


async def test_a_page_says_where_it_begins_and_ends(sdk, client):
    answered = await sdk.responses.create(
        model="gpt-4.1", input=[{"role": "user", "content": str(n)} for n in range(30)]
    )
    path = f"/responses/{answered.id}/input_items"
    page = (await client.get(path)).json()
    assert (page["object"], len(page["data"]), page["has_more"]) == ("list", 20, True)
    assert (page["first_id"], page["last_id"]) == (page["data"][0]["id"], page["data"][-1]["id"])
    rest = (await client.get(f"{path}?after={page['last_id']}")).json()
    assert (len(rest["data"]), rest["has_more"]) == (10, False)
    nothing = (await client.get(f"{path}?after={rest['last_id']}")).json()
    assert nothing == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


@pytest.mark.parametrize(
    ("query", "status", "code", "param"),
    [
        ("limit=0", 400, "integer_below_min_value", "limit"),
        ("limit=101", 400, "integer_above_max_value", "limit"),
        ("limit=ten", 400, "invalid_type", "limit"),
        ("order=up", 400, "invalid_value", "order"),
        ("after=msg_nowhere", 404, None, "after"),
    ],
)
async def test_a_query_that_cannot_be_answered_is_refused(client, query, status, code, param):
    answered = (await client.post("/responses", json=asking("gpt-4.1"))).json()
    refused = await client.get(f"/responses/{answered['id']}/input_items?{query}")
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["param"]) == (status, code, param)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/responses", "POST"),
        ("PATCH", "/responses/resp_1", "GET, DELETE"),
        ("GET", "/responses/resp_1/cancel", "POST"),
        ("DELETE", "/models/gpt-4.1", "GET"),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(client, method, path, allowed):
    refused = await client.request(method, path)
    assert (refused.status_code, refused.headers["allow"]) == (405, allowed)
    assert refused.json()["error"]["code"] == "method_not_supported"


async def test_the_newest_responses_are_kept():
    async with Simulator(stored=3) as small, account(small, "sk-any") as sdk:
        made = [(await sdk.responses.create(model="gpt-4.1", input="x")).id for _ in range(5)]
        for gone in made[:2]:
            with pytest.raises(NotFoundError):
                await sdk.responses.retrieve(gone)
        assert [(await sdk.responses.retrieve(kept)).id for kept in made[2:]] == made[2:]


@pytest.mark.parametrize("model", ["sim-ok", "sim-fail-usage", "sim-usage-null", "sim-search-1"])
@pytest.mark.parametrize("is_streamed", [False, True])
async def test_a_response_can_be_asked_for_once_it_has_ended(simulator, client, model, is_streamed):
    await client.post("/responses", json=asking(model, stream=is_streamed))
    entry = simulator.log.ended()[-1]
    stored = (await client.get(f"/responses/{entry['response_id']}")).json()
    assert (stored["id"], stored["object"]) == (entry["response_id"], "response")
    assert stored["status"] == ("failed" if "fail" in model else "completed")
    assert stored["usage"] == entry["usage"]


async def test_of_two_ends_the_first_is_kept(simulator, client):
    await client.post("/responses", json=asking("sim-twice", stream=True))
    stored = await client.get(f"/responses/{simulator.log.ended()[-1]['response_id']}")
    assert stored.json()["usage"]["output_tokens"] == len(ECHO_TOKENS)


async def test_a_response_is_in_progress_while_it_is_made_and_gone_with_its_client(simulator, client):
    async with client.stream("POST", "/responses", json=asking("sim-hold", stream=True)):
        await simulator.holds.until(1)
        ((response_id,),) = simulator.holds.names()
        stored = (await client.get(f"/responses/{response_id}")).json()
        assert (stored["id"], stored["status"], stored["usage"]) == (response_id, "in_progress", None)
    await simulator.holds.until(0)
    await simulator.log.wait_for(lambda entry: entry.get("ending") == "client_gone")
    assert (await client.get(f"/responses/{response_id}")).status_code == 404


@pytest.mark.parametrize("asked", [{"store": False}, {"model": "sim-cut-close-7"}, {"model": "sim-fail-silent"}])
async def test_what_is_not_stored_or_never_ended_is_not_found(simulator, client, asked):
    with contextlib.suppress(httpx.TransportError):
        await client.post("/responses", json=asking("sim-ok", stream=True) | asked)
    entry = await simulator.log.wait_for(lambda entry: entry["kind"] == "ended")
    answer = await client.get(f"/responses/{entry['response_id']}")
    assert (answer.status_code, "not found" in answer.json()["error"]["message"]) == (404, True)
