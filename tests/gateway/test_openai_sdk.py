"""The official openai Python SDK, pointed at the gateway and straight at the simulator: the same answers."""

import openai
import pytest
from openai import OpenAI

MESSAGES = [{"role": "user", "content": "你好啊，今天天气怎么样？"}]


@pytest.fixture
def through(acme):
    """A client as a tenant sets it up: two lines changed."""
    with OpenAI(base_url=acme.url, api_key=acme.secret, default_headers={"Accept": "application/json"}) as client:
        yield client


@pytest.fixture
def straight(upstream):
    with OpenAI(base_url=upstream.url, api_key="sk-any") as client:
        yield client


@pytest.mark.parametrize("asked", ["Tell me a story", "你好啊", MESSAGES])
def test_a_plain_answer_says_the_same_as_straight_from_the_upstream(through, straight, asked):
    ours = through.responses.create(model="gpt-4.1", input=asked)
    theirs = straight.responses.create(model="gpt-4.1", input=asked)
    assert ours.output_text == theirs.output_text
    assert ours.usage == theirs.usage
    assert ours._request_id


@pytest.mark.parametrize("asked", ["Tell me a story", "你好啊", MESSAGES])
def test_a_stream_says_the_same_as_straight_from_the_upstream(through, straight, asked):
    def text(client):
        with client.responses.create(model="gpt-4.1", input=asked, stream=True) as events:
            return [event.delta for event in events if event.type == "response.output_text.delta"]

    ours = text(through)
    assert ours == text(straight)
    assert len(ours) > 3


def test_the_stream_helper_returns_the_final_response(through):
    with through.responses.stream(model="gpt-4.1", input="Hello") as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[-1] == "response.completed"
    assert final.output_text == "You said: Hello"


def test_a_tool_loop_ends_with_text(through):
    tools = [{
        "type": "function", "name": "get_weather", "strict": False,
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    }]  # fmt: skip
    first = through.responses.create(model="sim-tool", input="Weather?", tools=tools, store=False)
    call = first.output[-1]
    history = [
        {"role": "user", "content": "Weather?"},
        call.model_dump(),
        {"type": "function_call_output", "call_id": call.call_id, "output": "21 degrees"},
    ]
    second = through.responses.create(model="sim-tool", input=history, tools=tools, store=False)
    assert "21 degrees" in second.output_text


def test_models_are_listed_by_their_own_names(through):
    names = [model.id for model in through.models.list()]
    assert "o3-pro" in names
    assert "gpt-4.1" in names
    assert not any("*" in name for name in names)


def test_errors_are_the_sdks_own(through, acme):
    with pytest.raises(openai.NotFoundError) as unknown:
        through.responses.create(model="nonesuch", input="hi")
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as stored:
        through.responses.create(model="gpt-4.1", input="hi", background=True)
    assert stored.value.param == "background"
    with OpenAI(base_url=acme.url, api_key="sk-wrong") as stranger, pytest.raises(openai.AuthenticationError):
        stranger.responses.create(model="gpt-4.1", input="hi")


def test_a_stream_that_breaks_is_an_error_and_no_finished_answer(through):
    kinds = []
    events = through.responses.create(model="sim-cut-reset-7", input="hi", stream=True)
    with pytest.raises(openai.APIError):
        kinds.extend(event.type for event in events)
    assert "response.completed" not in kinds
