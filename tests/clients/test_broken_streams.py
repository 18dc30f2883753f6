"""The upstream dies within a stream: whatever the way, the SDK reports a failure and never a finished answer."""

import openai
import pytest

from tests.clients.sdk import done, final_of

WAYS = [
    "fail-nested", "fail-flat", "fail-plain", "fail-usage", "fail-quota", "fail-error", "fail-silent",
    "cut-reset", "cut-close", "cut-half", "cut-halfend", "cut-badchunk", "cut-badjson", "cut-garbage", "cut-error",
]  # fmt: skip
FAILURES = (openai.APIError, ValueError)  # ValueError: of an event that is no JSON
AT = range(1, 10)  # of the 10 events that `sim-ok` takes for two words; before the first one there is no stream


@pytest.mark.parametrize("way", WAYS)
async def test_no_stream_that_breaks_looks_finished(sdk, place, way):
    for at in AT:
        failure, kinds = await read(sdk, f"sim-ok.{way}-{at}")
        assert "response.completed" not in kinds, (at, kinds)
        assert failure is not None or kinds[-1] == "response.failed" or not place.is_gateway, (at, kinds)
        assert sum(kind in ("response.failed", "response.incomplete") for kind in kinds) <= 1


@pytest.mark.parametrize("way", WAYS)
async def test_the_stream_helper_gives_no_final_response(sdk, way):
    with pytest.raises((*FAILURES, RuntimeError)) as failure:
        await final_of(sdk.responses.stream(model=f"sim-ok.{way}-4", input="hi"))
    assert isinstance(failure.value, FAILURES) or "response.completed" in str(failure.value)


async def read(sdk, model):
    """The error that ends the stream, if any, and the kinds of events before it."""
    kinds = []
    try:
        stream = await done(sdk.responses.create(model=model, input="hi", stream=True))
        if hasattr(stream, "__aiter__"):
            async for event in stream:
                kinds.append(event.type)  # noqa: PERF401 - what came before the error is kept
        else:
            kinds.extend(event.type for event in stream)
    except FAILURES as error:
        return error, kinds
    return None, kinds
