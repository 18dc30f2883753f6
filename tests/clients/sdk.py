"""The official openai SDK in its two forms, sync and async, driven alike."""

import inspect
import ssl
from dataclasses import dataclass

import openai
import pytest

TLS = ssl.create_default_context()  # unused, and dear to make anew for every client
FORMS = {
    "sync": (openai.OpenAI, openai.DefaultHttpxClient),
    "async": (openai.AsyncOpenAI, openai.DefaultAsyncHttpxClient),
}


@dataclass(frozen=True)
class Place:
    """Where a client points: two lines of a tenant's set-up."""

    name: str
    url: str
    key: str

    @property
    def is_gateway(self):
        return self.name == "gateway"


def client_of(form, place, *, max_retries=0, **fields):
    client, http_client = FORMS[form]
    http = http_client(verify=TLS)
    return client(base_url=place.url, api_key=place.key, max_retries=max_retries, http_client=http, **fields)


async def done(answer):
    """What a call returns, whether it is to be awaited or not."""
    return await answer if inspect.isawaitable(answer) else answer


async def every(items):
    """All items of a stream or a list of pages."""
    return [item async for item in items] if hasattr(items, "__aiter__") else list(items)


async def raised(call, kind=openai.APIStatusError):
    """The error of a call, which must be exactly of that class."""
    with pytest.raises(openai.OpenAIError) as failure:
        await done(call())
    assert type(failure.value) is kind, repr(failure.value)
    return failure.value


async def final_of(stream):
    """The kinds of events and the final response of the `.stream()` helper."""
    if hasattr(stream, "__aenter__"):
        async with stream as events:
            kinds = [event.type async for event in events]
            return kinds, await events.get_final_response()
    with stream as events:
        return [event.type for event in events], events.get_final_response()
