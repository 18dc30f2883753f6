"""What a response says, item by item: the events of messages, reasoning, function calls and web searches."""

import random
import re
import secrets
import string
from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any

from gateway.local.simulator.arguments import arguments_for
from gateway.local.simulator.identity import random_id
from gateway.local.simulator.prompt import last_tool_output, last_user_text
from gateway.local.simulator.reply import Reply
from gateway.local.simulator.steps import Event, Steps, Wait

ECHOED_CHARACTERS = 400
DEFAULT_TOOL = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"properties": {"location": {"type": "string"}}},
}

_TOKEN = re.compile(r" ?[A-Za-z0-9']+|.", re.DOTALL)
_NOISE = "".join(random.choices(string.ascii_letters + string.digits, k=2048))


def respond(reply: Reply) -> Steps:
    """The events of a whole response: opened, its items one after the other, ended."""
    for status in ("created", "in_progress"):
        yield {"type": f"response.{status}", "sequence_number": 0, "response": reply.opening()}
    for speech in reply.scenario.speech or [speak]:
        if not reply.cut_short:
            yield from speech(reply)
    status = "incomplete" if reply.cut_short else "completed"
    yield ended(reply, status)


def ended(reply: Reply, status: str) -> Event:
    response = reply.ending(status, usage=reply.reported_usage())
    return {"type": f"response.{status}", "sequence_number": 0, "response": response}


def answer_text(body: dict[str, Any]) -> str:
    output = last_tool_output(body)
    if output is not None:
        return f"The tool said: {output[:ECHOED_CHARACTERS]}"
    said = last_user_text(body)
    return f"You said: {said[:ECHOED_CHARACTERS]}" if said else "Hello!"


def tokens(text: str) -> list[str]:
    """Words with the space before them, every other character alone: what one delta carries, counted as one token."""
    return _TOKEN.findall(text)


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


def message(reply: Reply, words: "Iterator[str] | list[str]", gap: float = 0.0) -> Steps:
    index = len(reply.output)
    item = {"id": random_id("msg"), "type": "message", "status": "in_progress", "content": [], "role": "assistant"}
    place = {"item_id": item["id"], "output_index": index, "content_index": 0}
    yield _item("added", index, item)
    part = {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
    yield {"type": "response.content_part.added", "sequence_number": 0, **place, "part": part}
    said: list[str] = []
    for step in _deltas(reply, "response.output_text", words, {**place, "logprobs": []}, said):
        if gap:
            yield Wait(gap)
        yield step
    text = "".join(said)
    part = {**part, "text": text}
    yield {"type": "response.output_text.done", "sequence_number": 0, **place, "text": text, "logprobs": []}
    yield {"type": "response.content_part.done", "sequence_number": 0, **place, "part": part}
    yield _finish(reply, {**item, "status": _status(reply), "content": [part]})


def reason(reply: Reply, count: int) -> Steps:
    """`count` reasoning tokens, of which a summary in one part is shown; it is free of tokens of its own."""
    index = len(reply.output)
    item: dict[str, Any] = {"id": random_id("rs"), "type": "reasoning", "summary": []}
    if "reasoning.encrypted_content" in (reply.body.get("include") or []):
        item["encrypted_content"] = "gAAAAA" + secrets.token_urlsafe(240)
    yield _item("added", index, item)
    reply.cut_short = count > reply.room()
    reply.reasoned += min(count, reply.room())
    place = {"item_id": item["id"], "output_index": index, "summary_index": 0}
    summary, name = "**Thinking about the question**\n\nThe user asked something.", "response.reasoning_summary"
    part = {"type": "summary_text", "text": summary}
    yield {"type": f"{name}_part.added", "sequence_number": 0, **place, "part": {**part, "text": ""}}
    for word in tokens(summary):
        yield _delta(reply, f"{name}_text.delta", place, word)
    yield {"type": f"{name}_text.done", "sequence_number": 0, **place, "text": summary}
    yield {"type": f"{name}_part.done", "sequence_number": 0, **place, "part": part}
    yield _finish(reply, {**item, "summary": [part]})


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
    index, call_id = len(reply.output), "call_" + secrets.token_hex(12)
    item = {"id": random_id("fc"), "type": "function_call", "status": "in_progress", "arguments": ""}
    item |= {"call_id": call_id, "name": function["name"]}
    yield _item("added", index, item)
    place = {"item_id": item["id"], "output_index": index}
    said: list[str] = []
    arguments = arguments_for(function, last_user_text(reply.body)[:ECHOED_CHARACTERS])
    name = "response.function_call_arguments"
    yield from _deltas(reply, name, tokens(arguments), place, said)
    yield {"type": f"{name}.done", "sequence_number": 0, **place, "arguments": "".join(said), "name": function["name"]}
    yield _finish(reply, {**item, "status": _status(reply), "arguments": "".join(said)})


def search(reply: Reply, count: int) -> Steps:
    """`count` web searches and one opened page (which is no billable search), then the ordinary answer."""
    query = last_user_text(reply.body)[:ECHOED_CHARACTERS]
    actions: list[dict[str, Any]] = [{"type": "search", "query": query, "queries": [query]} for _ in range(count)]
    for action in [*actions, {"type": "open_page", "url": "https://example.com/page"}]:
        index = len(reply.output)
        item = {"id": random_id("ws"), "type": "web_search_call", "status": "in_progress"}
        yield _item("added", index, {**item, "action": action})
        for state in ("in_progress", "searching", "completed"):
            name = f"response.web_search_call.{state}"
            yield {"type": name, "sequence_number": 0, "output_index": index, "item_id": item["id"]}
        reply.searches += action["type"] == "search"
        yield _finish(reply, {**item, "status": "completed", "action": action})
    yield from speak(reply)


def _deltas(
    reply: Reply, name: str, words: "Iterator[str] | list[str]", place: dict[str, Any], said: list[str]
) -> Steps:
    """One delta a word as far as there is room; `said` gathers them."""
    for word in words:
        if reply.room() <= 0:
            reply.cut_short = True
            return
        said.append(word)
        reply.said += 1
        yield _delta(reply, f"{name}.delta", place, word)


def _delta(reply: Reply, name: str, place: dict[str, Any], text: str) -> Event:
    """Obfuscation fills a delta up to a multiple of 16 characters, so that its length betrays little of the text."""
    event = {"type": name, "sequence_number": 0, **place, "delta": text}
    if reply.obfuscated:
        start = int(random.random() * 2000)
        event["obfuscation"] = _NOISE[start : start + (-len(text) % 16 or 16)]
    return event


def _item(state: str, index: int, item: dict[str, Any]) -> Event:
    return {"type": f"response.output_item.{state}", "sequence_number": 0, "output_index": index, "item": item}


def _finish(reply: Reply, item: dict[str, Any]) -> Event:
    reply.output.append(item)
    return _item("done", len(reply.output) - 1, item)


def _status(reply: Reply) -> str:
    return "incomplete" if reply.cut_short else "completed"
