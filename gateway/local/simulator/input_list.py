"""The input of a response as OpenAI lists it afterwards: every item with a type and an id, every text in a part."""

from typing import Any

from gateway.local.simulator.identity import random_id

Item = dict[str, Any]

PREFIXES = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
    "web_search_call": "ws",
    "compaction": "cmp",
}


def listed(items: list[Item]) -> list[Item]:
    """The items given, in their order; an id of their own is kept."""
    return [_listed(item) for item in items]


def _listed(item: Item) -> Item:
    kind = str(item.get("type") or "message")
    shown = {**item, "type": kind, "id": item.get("id") or random_id(PREFIXES.get(kind, "item"))}
    if kind == "message":
        shown |= {"status": item.get("status") or "completed", "content": _parts(item)}
    return shown


def _parts(item: Item) -> object:
    content = item.get("content")
    if not isinstance(content, str):
        return content
    if item.get("role") == "assistant":
        return [{"type": "output_text", "text": content, "annotations": [], "logprobs": []}]
    return [{"type": "input_text", "text": content}]
