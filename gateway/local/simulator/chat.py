"""The chat.completion form of an answer, as some upstreams give it on /v1/responses too: no `response.*` event."""

from typing import Any

from gateway.local.simulator.items import tokens
from gateway.local.simulator.reply import Reply
from gateway.local.simulator.speech import answer_text
from gateway.local.simulator.steps import Event, Raw, Steps
from gateway.local.simulator.usages import ABSENT, chat_form

DONE = Raw(b"data: [DONE]\n\n")


def complete(reply: Reply) -> Steps:
    """Data-only chunks, one with the usage, and `[DONE]`; or, not streamed, the one object."""
    words = tokens(answer_text(reply.body))
    said = words[: reply.room()]
    reply.cut_short = len(said) < len(words)
    reason = "length" if reply.cut_short else "stop"
    if not reply.streamed:
        reply.said = len(said)
        message: dict[str, Any] = {"role": "assistant", "content": "".join(said), "refusal": None, "annotations": []}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
        yield _with_usage(_object(reply, "chat.completion", [choice]), reply)
        return
    yield _chunk(reply, {"role": "assistant", "content": "", "refusal": None}, None)
    for word in said:
        reply.said += 1
        yield _chunk(reply, {"content": word}, None)
    yield _chunk(reply, {}, reason)
    yield _with_usage(_object(reply, "chat.completion.chunk", []), reply)
    yield DONE


def _chunk(reply: Reply, delta: dict[str, Any], reason: str | None) -> Event:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    return _object(reply, "chat.completion.chunk", [choice])


def _object(reply: Reply, name: str, choices: list[dict[str, Any]]) -> Event:
    return {
        "id": "chatcmpl-" + reply.id.removeprefix("resp_")[:29],
        "object": name,
        "created": reply.created_at,
        "model": reply.model,
        "choices": choices,
        "service_tier": reply.served_tier(),
        "system_fingerprint": None,
    }


def _with_usage(event: Event, reply: Reply) -> Event:
    """In chat form whatever else the scenario does to its numbers."""
    shaped = reply.reported_usage()
    if isinstance(shaped, dict) and "input_tokens_details" in shaped and "prompt_tokens" not in shaped:
        shaped = chat_form(shaped)
    return event if shaped is ABSENT else {**event, "usage": shaped}
