"""The same question through the gateway and straight to the simulator: the same answer, whatever `Accept` says."""

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
