"""Keys that an object has twice: which of them counts is for each parser to say, so those that we judge by are refused.

Pure. That there is none is told by a count: what was parsed, written again, has as many colons.
"""

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from gateway.wire.objects import Object

# What the gateway reads of a request, or holds money, owners and permissions by.
JUDGED = {
    "background", "background_options", "context_management", "conversation", "include", "input", "instructions",
    "max_output_tokens", "max_tool_calls", "model", "moderation", "multi_agent", "personality", "previous_response_id",
    "prompt", "prompt_cache_key", "prompt_cache_options", "reasoning", "service_tier", "store", "stream",
    "stream_options", "text", "tool_choice", "tools", "truncation",
}  # fmt: skip
JUDGED_INSIDE = {
    "type", "id", "content", "output", "outputs", "tools", "url", "image_url", "file_id", "file_ids", "file_url",
    "file_data", "result", "detail", "container", "container_id", "environment", "skills", "vector_store_ids",
    "input_image_mask", "server_url", "connector_id", "comparison_response_id", "encrypted_content", "execution",
    "enabled", "authorization",
}  # fmt: skip
ID_ENDINGS = ("_id", "_ids")  # may name a stored object, whatever it is called
FREE = {"metadata", "client_metadata", "parameters", "schema", "variables", "headers"}  # the client's own keys
ESCAPED_COLON = (b"\\u003a", b"\\u003A")
LONGEST_SHOWN = 64  # of a key, in the name of a parameter

_Trail = tuple[Any, str | int]  # the place of the holder, a _Trail or None, and the key or index in it


def first_duplicate(body: bytes, parsed: Object) -> str | None:
    """The first key that stands twice in its object and matters, e.g. `model`, `tools[2].type`; None without one."""
    is_counted = not any(colon in body for colon in ESCAPED_COLON)
    if is_counted and body.count(b":") == msgspec.json.encode(parsed).count(b":"):
        return None
    members = json.loads(body.decode(), object_pairs_hook=_Members, parse_int=str, parse_float=str)
    found = next(_duplicates(members, None, JUDGED), None)
    return None if found is None else _name(found)


class _Members(list[tuple[str, Any]]):
    """An object with all that it says."""


def _duplicates(value: object, place: _Trail | None, judged: set[str]) -> Iterator[_Trail]:
    if isinstance(value, _Members):
        seen = set()
        for key, inner in value:
            if key in seen and (key in judged or key.endswith(ID_ENDINGS)):
                yield place, key
            seen.add(key)
            if key not in FREE:
                yield from _duplicates(inner, (place, key), JUDGED_INSIDE)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _duplicates(inner, (place, index), judged)


def _name(trail: _Trail) -> str:
    """`input[0].content`. Made for what is found alone: a long key over many members would be copied for each."""
    steps: list[str] = []
    rest: _Trail | None = trail
    while rest is not None:
        rest, step = rest
        steps.append(f"[{step}]" if isinstance(step, int) else f".{step[:LONGEST_SHOWN]}")
    return "".join(reversed(steps)).removeprefix(".")
