"""What a response says, item by item: the events of messages, reasoning, function calls and web searches."""

import secrets
from collections.abc import Iterable
from itertools import cycle, islice
from typing import Any

from gateway.local.simulator.arguments import arguments_for
from gateway.local.simulator.identity import random_id
from gateway.local.simulator.items import added, delta, deltas, done, event, place_of, states, status, tokens
from gateway.local.simulator.prompt import last_tool_output, last_user_text
from gateway.local.simulator.reply import Reply
from gateway.local.simulator.scenario import Speech
from gateway.local.simulator.sealing import seal
from gateway.local.simulator.steps import Event, Steps, Wait

ECHOED_CHARACTERS = 400
DEFAULT_TOOL = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"properties": {"location": {"type": "string"}}},
}


def respond(reply: Reply, said: list[Speech]) -> Steps:
    """The events of a whole response: opened, its items one after the other, ended."""
    for state in ("created", "in_progress"):
        yield {"type": f"response.{state}", "sequence_number": 0, "response": reply.opening()}
    for speech in said or [speak]:
        if not reply.cut_short:
            yield from speech(reply)
    yield ended(reply, status(reply))


def ended(reply: Reply, state: str) -> Event:
    response = reply.ending(state, usage=reply.reported_usage())
    return {"type": f"response.{state}", "sequence_number": 0, "response": response}


def answer_text(body: dict[str, Any]) -> str:
    output = last_tool_output(body)
    if output is not None:
        return f"The tool said: {output[:ECHOED_CHARACTERS]}"
    said = last_user_text(body)
    return f"You said: {said[:ECHOED_CHARACTERS]}" if said else "Hello!"


def speak(reply: Reply) -> Steps:
    """The ordinary answer: the echo; or a function call where `tool_choice` demands one and none was answered yet."""
    choice = reply.body.get("tool_choice")
    demanded = choice == "required" or (isinstance(choice, dict) and choice.get("type") == "function")
    if demanded and last_tool_output(reply.body) is None:
        yield from call_functions(reply, 1)
    else:
        yield from message(reply, tokens(answer_text(reply.body)))


def speak_paced(reply: Reply, count: int, gap: float) -> Steps:
    """The echo, repeated or shortened to `count` deltas, `gap` seconds before each."""
    yield from message(reply, islice(cycle(tokens(answer_text(reply.body))), count), gap)


def speak_big(reply: Reply, size: int) -> Steps:
    """One delta of `size` bytes; the events that repeat the text are as big."""
    yield from message(reply, iter(["x" * size]))


def message(reply: Reply, words: Iterable[str], gap: float = 0.0) -> Steps:
    item = new_message()
    place = place_of(reply, item, content_index=0)
    yield added(reply, item)
    part = {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
    yield event("response.content_part.added", place, part=part)
    said: list[str] = []
    for step in deltas(reply, "response.output_text", words, {**place, "logprobs": []}, said):
        if gap:
            yield Wait(gap)
        yield step
    part = {**part, "text": "".join(said)}
    yield event("response.output_text.done", place, text=part["text"], logprobs=[])
    yield event("response.content_part.done", place, part=part)
    yield done(reply, {**item, "status": status(reply), "content": [part]})


def new_message() -> dict[str, Any]:
    return {"id": random_id("msg"), "type": "message", "status": "in_progress", "content": [], "role": "assistant"}


def reason(reply: Reply, count: int) -> Steps:
    """`count` reasoning tokens, of which a summary in one part is shown; it is free of tokens of its own."""
    item: dict[str, Any] = {"id": random_id("rs"), "type": "reasoning", "summary": []}
    if "reasoning.encrypted_content" in (reply.body.get("include") or []):
        item["encrypted_content"] = seal(reply.key)
    yield added(reply, item)
    reply.cut_short = count > reply.room()
    reply.reasoned += min(count, reply.room())
    place = place_of(reply, item, summary_index=0)
    summary, name = "**Thinking about the question**\n\nThe user asked something.", "response.reasoning_summary"
    part = {"type": "summary_text", "text": summary}
    yield event(f"{name}_part.added", place, part={**part, "text": ""})
    for word in tokens(summary):
        yield delta(reply, f"{name}_text.delta", place, word)
    yield event(f"{name}_text.done", place, text=summary)
    yield event(f"{name}_part.done", place, part=part)
    yield done(reply, {**item, "summary": [part]})


def call_functions(reply: Reply, count: int) -> Steps:
    """`count` calls of the body's first function (get_weather where it has none), or the answer to their output."""
    if last_tool_output(reply.body) is not None:
        yield from message(reply, tokens(answer_text(reply.body)))
        return
    functions = [tool for tool in reply.body.get("tools") or [] if tool.get("type") == "function"]
    for _ in range(count):
        if not reply.cut_short:
            yield from _call(reply, functions[0] if functions else DEFAULT_TOOL)


def _call(reply: Reply, function: dict[str, Any]) -> Steps:
    item = {"id": random_id("fc"), "type": "function_call", "status": "in_progress", "arguments": ""}
    item |= {"call_id": call_id(), "name": function["name"]}
    yield added(reply, item)
    place = place_of(reply, item)
    said: list[str] = []
    arguments = arguments_for(function, last_user_text(reply.body)[:ECHOED_CHARACTERS])
    name = "response.function_call_arguments"
    yield from deltas(reply, name, tokens(arguments), place, said)
    yield event(f"{name}.done", place, arguments="".join(said), name=function["name"])
    yield done(reply, {**item, "status": status(reply), "arguments": "".join(said)})


def call_id() -> str:
    return "call_" + secrets.token_hex(12)


def search(reply: Reply, count: int) -> Steps:
    """`count` web searches and one opened page (which is no billable search), then the ordinary answer."""
    query = last_user_text(reply.body)[:ECHOED_CHARACTERS]
    actions: list[dict[str, Any]] = [{"type": "search", "query": query, "queries": [query]} for _ in range(count)]
    for action in [*actions, {"type": "open_page", "url": "https://example.com/page"}]:
        item = {"id": random_id("ws"), "type": "web_search_call", "status": "in_progress"}
        yield added(reply, {**item, "action": action})
        yield from states("web_search_call", place_of(reply, item), "in_progress", "searching", "completed")
        reply.searches += action["type"] == "search"
        yield done(reply, {**item, "status": "completed", "action": action})
    yield from speak(reply)
