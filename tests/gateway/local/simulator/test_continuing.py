import pytest
from openai import BadRequestError, NotFoundError
from openai.types.responses import CompactedResponse

from gateway.local.simulator.prompt_cache import REMEMBERED, PromptCache
from gateway.local.simulator.sealing import is_sealed, seal
from tests.gateway.local.simulator.asking import CHINESE, ECHO, asking, stream

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(60)]

ENCRYPTED = ["reasoning.encrypted_content"]


# previous_response_id


async def test_a_response_reads_all_that_it_continues(sdk):
    first = await sdk.responses.create(model="gpt-4.1", input=CHINESE)
    second = await sdk.responses.create(model="gpt-4.1", input="1234", previous_response_id=first.id)
    third = await sdk.responses.create(model="gpt-4.1", input="12345", previous_response_id=second.id)
    assert (second.output_text, second.previous_response_id) == ("You said: 1234", first.id)
    assert first.usage.input_tokens == 4
    assert second.usage.input_tokens == first.usage.total_tokens + 1
    assert third.usage.input_tokens == second.usage.total_tokens + 2
    read = (await sdk.responses.input_items.list(third.id, order="asc")).data
    assert [item.content[0].text for item in read] == [CHINESE, ECHO, "1234", "You said: 1234", "12345"]
    assert (read[1].id, read[3].id) == (first.output[0].id, second.output[0].id)


async def test_numbers_that_a_scenario_names_are_those_that_the_next_response_reads(sdk):
    first = await sdk.responses.create(model="sim-usage-1000-200-100-50-20", input="x")
    second = await sdk.responses.create(model="gpt-4.1", input="1234", previous_response_id=first.id)
    assert second.usage.input_tokens == 1050 + 1


@pytest.mark.parametrize("asked", [{}, {"input": None}])
async def test_a_response_may_be_continued_in_a_stream_and_without_any_input(client, sdk, asked):
    first = await sdk.responses.create(model="gpt-4.1", input=CHINESE)
    ended = (await stream(client, "gpt-4.1", previous_response_id=first.id, **asked))[-1]["response"]
    assert ended["usage"]["input_tokens"] >= first.usage.total_tokens
    assert ended["previous_response_id"] == first.id


async def test_what_was_not_stored_or_is_deleted_cannot_be_continued(accounts):
    mine, other = accounts
    foreign = await other.responses.create(model="gpt-4.1", input=CHINESE)
    unstored = await mine.responses.create(model="gpt-4.1", input=CHINESE, store=False)
    deleted = await mine.responses.create(model="gpt-4.1", input=CHINESE)
    await mine.responses.delete(deleted.id)
    for gone in (foreign.id, unstored.id, deleted.id, "resp_nowhere"):
        for ask in (mine.responses.create, mine.responses.compact, mine.responses.input_tokens.count):
            with pytest.raises(BadRequestError) as refused:
                await ask(model="gpt-4.1", input="x", previous_response_id=gone)
            assert refused.value.body == {
                "message": f"Previous response with id '{gone}' not found.",
                "type": "invalid_request_error",
                "param": "previous_response_id",
                "code": "previous_response_not_found",
            }


async def test_a_tool_loop_may_send_its_output_alone(sdk):
    asked = await sdk.responses.create(model="sim-tool", input=CHINESE)
    (call,) = asked.output
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "晴"}
    answered = await sdk.responses.create(model="sim-tool", input=[output], previous_response_id=asked.id)
    assert answered.output_text == "The tool said: 晴"


# Items by reference


async def test_a_reference_stands_for_the_item_that_is_stored(sdk):
    first = await sdk.responses.create(model="gpt-4.1", input=CHINESE)
    (given,) = (await sdk.responses.input_items.list(first.id)).data
    referred = await sdk.responses.create(
        model="gpt-4.1", input=[{"type": "item_reference", "id": given.id}, {"id": first.output[0].id}]
    )
    written = await sdk.responses.create(
        model="gpt-4.1", input=[{"role": "user", "content": CHINESE}, {"role": "assistant", "content": ECHO}]
    )
    assert (referred.output_text, referred.usage) == (ECHO, written.usage)
    read = (await sdk.responses.input_items.list(referred.id, order="asc")).data
    assert [item.id for item in read] == [given.id, first.output[0].id]


@pytest.mark.parametrize(
    "item",
    [{"type": "item_reference", "id": "msg_x"}, {"id": "rs_x"}, {"type": "reasoning", "id": "rs_x", "summary": []}],
)
async def test_an_item_that_is_not_stored_is_refused(client, item):
    for store, hint in ((True, ""), (False, " Items are not persisted when `store` is set to false.")):
        refused = await client.post("/responses", json=asking("gpt-4.1", input=[item], store=store))
        error = refused.json()["error"]
        assert (refused.status_code, error["param"], error["code"]) == (404, "input", None)
        assert error["message"].startswith(f"Item with id '{item['id']}' not found.{hint}")
        assert ("persisted" in error["message"]) == (not store)


async def test_an_item_of_another_account_or_of_a_deleted_response_is_refused(accounts):
    mine, other = accounts
    answered = await mine.responses.create(model="gpt-4.1", input=CHINESE)
    reference = [{"type": "item_reference", "id": answered.output[0].id}]
    await mine.responses.create(model="gpt-4.1", input=reference)
    with pytest.raises(NotFoundError, match="Item with id"):
        await other.responses.create(model="gpt-4.1", input=reference)
    await mine.responses.delete(answered.id)
    with pytest.raises(NotFoundError, match="Item with id"):
        await mine.responses.create(model="gpt-4.1", input=reference)


async def test_an_item_with_content_is_taken_whatever_its_id(sdk):
    items = [
        {"id": "msg_client_made", "role": "user", "content": "before"},
        {"id": "fc_made", "type": "function_call", "call_id": "call_1", "name": "weather", "arguments": "{}"},
        {"id": "rs_made", "type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"id": "msg_2", "role": "user", "content": CHINESE},
    ]
    assert (await sdk.responses.create(model="gpt-4.1", input=items, store=False)).output_text == ECHO


async def test_a_conversation_is_unknown(client):
    for conversation in ("conv_1", {"id": "conv_1"}):
        refused = await client.post("/responses", json=asking("gpt-4.1", conversation=conversation))
        message = refused.json()["error"]["message"]
        assert (refused.status_code, message) == (404, "Conversation with id 'conv_1' not found.")


# Encrypted content


async def test_encrypted_reasoning_may_be_given_back_by_its_account_only(accounts):
    mine, other = accounts
    first = await mine.responses.create(model="sim-reasoning", input=CHINESE, include=ENCRYPTED, store=False)
    replayed = [item.to_dict() for item in first.output] + [{"role": "user", "content": CHINESE}]
    assert (await mine.responses.create(model="gpt-4.1", input=replayed, store=False)).output_text == ECHO
    with pytest.raises(BadRequestError) as refused:
        await other.responses.create(model="gpt-4.1", input=replayed, store=False)
    sealed = replayed[0]["encrypted_content"]
    assert (refused.value.code, refused.value.param) == ("invalid_encrypted_content", None)
    assert f"The encrypted content gAAA...{sealed[-4:]} could not be verified." in refused.value.message


async def test_any_change_to_encrypted_content_is_found():
    sealed = seal("sk-one")
    assert is_sealed("sk-one", sealed)
    for place in range(0, len(sealed), 7):
        other = "A" if sealed[place] != "A" else "B"
        assert not is_sealed("sk-one", sealed[:place] + other + sealed[place + 1 :])
    for text in ("", "gAAAAA", "你好", sealed[:-4], sealed + "AAAA", sealed + "\n"):
        assert not is_sealed("sk-one", text)


async def test_encrypted_content_is_shown_to_those_who_ask_for_it(sdk):
    made = await sdk.responses.create(model="sim-reasoning", input=CHINESE, include=ENCRYPTED)
    assert made.output[0].encrypted_content
    plain = await sdk.responses.retrieve(made.id)
    shown = await sdk.responses.retrieve(made.id, include=ENCRYPTED)
    assert (plain.output[0].encrypted_content, shown) == (None, made)
    await sdk.responses.create(model="gpt-4.1", input=[shown.output[0].to_dict(), {"role": "user", "content": "x"}])
    continued = await sdk.responses.create(model="gpt-4.1", input="x", previous_response_id=made.id)
    for include, is_shown in ((ENCRYPTED, True), ([], False)):
        items = (await sdk.responses.input_items.list(continued.id, include=include)).data
        (reasoning,) = [item for item in items if item.type == "reasoning"]
        assert bool(reasoning.encrypted_content) == is_shown
    with pytest.raises(BadRequestError) as refused:
        await sdk.responses.retrieve(made.id, include=["everything"])
    assert (refused.value.code, refused.value.param) == ("invalid_value", "include[0]")


async def test_a_trusting_upstream_takes_what_it_does_not_know(client):
    items = [
        {"type": "item_reference", "id": "msg_x"},
        {"type": "reasoning", "id": "rs_x", "summary": [], "encrypted_content": "gAAAAforeign"},
        {"role": "user", "content": CHINESE},
    ]
    more = {"input": items, "previous_response_id": "resp_x", "conversation": "conv_x"}
    answer = await client.post("/responses", json=asking("sim-trusting", **more))
    assert answer.json()["output"][0]["content"][0]["text"] == ECHO


# The prompt cache


async def test_a_prompt_is_cached_for_those_who_share_its_key_and_its_beginning(accounts):
    mine, other = accounts
    asked = {"model": "gpt-4.1", "instructions": "1234", "input": [{"role": "user", "content": "12345678"}]}

    async def cached(sdk, **more):
        answered = await sdk.responses.create(**asked | more)
        assert answered.prompt_cache_key == more.get("prompt_cache_key")
        return answered.usage.input_tokens_details.cached_tokens

    assert [await cached(mine, prompt_cache_key="a") for _ in range(3)] == [0, 3, 3]
    longer = [*asked["input"], {"role": "user", "content": "and more"}]
    assert await cached(mine, prompt_cache_key="a", input=longer) == 3
    assert await cached(mine, prompt_cache_key="b") == 0
    assert await cached(mine, prompt_cache_key="a", input="other") == 0
    assert await cached(mine, prompt_cache_key="a", model="gpt-5") == 0
    assert await cached(other, prompt_cache_key="a") == 0
    assert [await cached(mine) for _ in range(2)] == [0, 0]


async def test_the_prompt_cache_is_bounded():
    cache, items = PromptCache(), [{"role": "user", "content": "1234"}]
    for number in range(REMEMBERED + 1):
        assert cache.cached_tokens("sk", {"prompt_cache_key": str(number)}, items) == 0
    assert cache.cached_tokens("sk", {"prompt_cache_key": "0"}, items) == 0
    assert cache.cached_tokens("sk", {"prompt_cache_key": str(REMEMBERED)}, items) == 1


# Counting and compacting


@pytest.mark.parametrize("model", ["gpt-4.1", "sim-usage-70-1-1-5-1"])
async def test_the_count_is_what_create_would_bill(sdk, model):
    first = await sdk.responses.create(model="sim-reasoning-20", input=CHINESE)
    asked = {"model": model, "instructions": "be brief", "previous_response_id": first.id}
    asked["input"] = [{"type": "item_reference", "id": first.output[1].id}, {"role": "user", "content": CHINESE}]
    counted = await sdk.responses.input_tokens.count(**asked)
    created = await sdk.responses.create(**asked)
    assert counted.input_tokens == created.usage.input_tokens


async def test_compacting_keeps_the_users_words_and_seals_the_rest(sdk):
    first = await sdk.responses.create(model="gpt-4.1", input=CHINESE)
    compacted = await sdk.responses.compact(model="gpt-4.1", input="1234", previous_response_id=first.id)
    assert isinstance(compacted, CompactedResponse)
    assert compacted.object == "response.compaction"
    assert [item.type for item in compacted.output] == ["message", "message", "compaction"]
    assert [item.content[0].text for item in compacted.output[:-1]] == [CHINESE, "1234"]
    read = first.usage.total_tokens + 1
    assert (compacted.usage.input_tokens, compacted.usage.output_tokens) == (read, -(-read // 4))
    with pytest.raises(NotFoundError):
        await sdk.responses.retrieve(compacted.id)
    replayed = [item.to_dict(warnings=False) for item in compacted.output] + [{"role": "user", "content": CHINESE}]
    assert (await sdk.responses.create(model="gpt-4.1", input=replayed)).output_text == ECHO


async def test_compacting_is_logged_with_its_usage(simulator, client):
    compacted = await client.post("/responses/compact", json={"model": "sim-usage-9-1-2-3-0", "input": "x"})
    ended = simulator.log.ended()[-1]
    assert (ended["ending"], ended["response_id"]) == ("completed", compacted.json()["id"])
    assert ended["usage"] == compacted.json()["usage"]
    assert ended["usage"]["total_tokens"] == 12


@pytest.mark.parametrize("path", ["/responses", "/responses/compact", "/responses/input_tokens"])
@pytest.mark.parametrize(
    ("asked", "status", "param"),
    [
        ({"input": "x"}, 400, "model"),
        ({"model": "gpt-4.1"}, 400, "input"),
        ({"model": "llama", "input": "x"}, 404, None),
        ({"model": "sim-status-503", "input": "x"}, 503, None),
    ],
)
async def test_a_model_is_asked_by_the_same_rules_everywhere(client, path, asked, status, param):
    for query in ("", "?beta=true"):
        refused = await client.post(path + query, json=asked)
        assert (refused.status_code, refused.json()["error"]["param"]) == (status, param)
