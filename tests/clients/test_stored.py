"""What a stored response can be asked for: shown, continued, listed, counted, compacted, deleted."""

import openai
import pytest

from tests.clients.sdk import done, every, raised

INPUT = [{"role": "user", "content": f"line {number}"} for number in range(5)]


async def made(responses, **fields):
    return await done(responses.create(**{"model": "gpt-4.1", "input": "Hello", **fields}))


async def texts_of(pages):
    return [part.text for item in await every(pages) for part in item.content]


def text_of(answer):
    return answer.output[-1].content[0].text


async def test_a_stored_response_is_shown_as_it_ended(responses):
    answer = await made(responses, metadata={"trace": "t-1"})
    shown = await done(responses.retrieve(answer.id))
    assert shown.model_dump() == answer.model_dump()
    again = await done(
        responses.retrieve(answer.id, include=["reasoning.encrypted_content"], include_obfuscation=False)
    )
    assert again.id == answer.id


async def test_a_streamed_response_is_stored_as_its_last_event_said(responses):
    events = await every(await made(responses, stream=True))
    shown = await done(responses.retrieve(events[0].response.id))
    assert shown.model_dump() == events[-1].response.model_dump()


async def test_a_response_that_was_not_made_in_the_background_is_not_streamed_again(responses):
    answer = await made(responses)
    error = await raised(lambda: responses.retrieve(answer.id, stream=True, starting_after=2), openai.NotFoundError)
    assert error.type == "invalid_request_error"


async def test_a_response_is_continued_by_its_id(responses):
    first = await made(responses, input=[{"role": "user", "content": "Hello"}])
    second = await made(responses, input="And now?", previous_response_id=first.id)
    third = await made(responses, input="Then?", previous_response_id=second.id)
    assert (second.previous_response_id, third.previous_response_id) == (first.id, second.id)
    assert first.usage.input_tokens < second.usage.input_tokens < third.usage.input_tokens
    said = await texts_of(responses.input_items.list(third.id, order="asc"))
    assert said == ["Hello", "You said: Hello", "And now?", "You said: And now?", "Then?"]


async def test_the_input_is_listed_page_by_page(responses):
    answer = await made(responses, input=INPUT)
    assert await texts_of(responses.input_items.list(answer.id, order="asc", limit=2)) == [
        f"line {n}" for n in range(5)
    ]
    assert await texts_of(responses.input_items.list(answer.id)) == [f"line {n}" for n in reversed(range(5))]
    page = await done(responses.input_items.list(answer.id, order="asc", limit=2))
    assert (len(page.data), page.has_more) == (2, True)
    later = await done(responses.input_items.list(answer.id, order="asc", limit=2, after=page.data[-1].id))
    assert later.data[0].content[0].text == "line 2"
    error = await raised(lambda: responses.input_items.list(answer.id, limit=101), openai.BadRequestError)
    assert error.param == "limit"


async def test_a_deleted_response_is_gone(responses):
    answer = await made(responses)
    assert (await done(responses.delete(answer.id))) is None
    for ask in (
        lambda: responses.retrieve(answer.id),
        lambda: responses.delete(answer.id),
        lambda: responses.cancel(answer.id),
        lambda: responses.input_items.list(answer.id),
    ):
        error = await raised(ask, openai.NotFoundError)
        assert f"Response with id '{answer.id}' not found." in error.message
    error = await raised(lambda: made(responses, previous_response_id=answer.id), openai.BadRequestError)
    assert error.code == "previous_response_not_found"


async def test_an_ended_response_cannot_be_cancelled(responses):
    answer = await made(responses)
    await raised(lambda: responses.cancel(answer.id), openai.BadRequestError)


@pytest.mark.parametrize("response_id", ["resp_nobodys", "x" * 300])
async def test_an_unknown_response_is_not_found(responses, response_id):
    error = await raised(lambda: responses.retrieve(response_id), openai.NotFoundError)
    assert (error.type, error.param, error.code) == ("invalid_request_error", None, None)
    assert f"Response with id '{response_id}' not found." in error.message


async def test_what_is_not_stored_cannot_be_asked_for(responses):
    answer = await made(responses, store=False)
    await raised(lambda: responses.retrieve(answer.id), openai.NotFoundError)


async def test_input_tokens_are_counted_as_they_are_billed(responses):
    counted = await done(responses.input_tokens.count(model="gpt-4.1", input=INPUT, instructions="Be brief."))
    answer = await made(responses, input=INPUT, instructions="Be brief.")
    assert counted.object == "response.input_tokens"
    assert counted.input_tokens == answer.usage.input_tokens > 1


async def test_a_compaction_is_continued(responses):
    compacted = await done(responses.compact(model="gpt-4.1", input=INPUT, instructions="Keep it short."))
    assert compacted.object == "response.compaction"
    assert compacted.usage.input_tokens > 0
    assert compacted.output[-1].type == "compaction"
    assert compacted.output[-1].encrypted_content
    window = [item.model_dump(exclude_none=True, warnings=False) for item in compacted.output]
    answer = await made(responses, input=[*window, {"role": "user", "content": "Go on"}], store=False)
    assert text_of(answer) == "You said: Go on"


async def test_a_stored_response_is_compacted_by_its_id(responses):
    answer = await made(responses, input=INPUT)
    compacted = await done(responses.compact(model="gpt-4.1", previous_response_id=answer.id))
    assert compacted.output[-1].encrypted_content
    asked = {"model": "gpt-4.1", "previous_response_id": "resp_nobodys"}
    await raised(lambda: responses.compact(**asked), openai.BadRequestError)


async def test_models_are_listed_and_shown(sdk):
    listed = {model.id for model in await every(sdk.models.list())}
    assert {"gpt-4.1", "o3-pro"} <= listed
    shown = await done(sdk.models.retrieve("gpt-4.1"))
    assert (shown.id, shown.object) == ("gpt-4.1", "model")
    error = await raised(lambda: sdk.models.retrieve("nonesuch"), openai.NotFoundError)
    assert error.code == "model_not_found"
