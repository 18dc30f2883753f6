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
FREE = {"metadata", "client_metadata", "parameters", "schema", "variables", "headers"}  # the client's own keys
ESCAPED_COLON = (b"\\u003a", b"\\u003A")


def first_duplicate(body: bytes, parsed: Object) -> str | None:
    """The first key that stands twice in its object and matters, e.g. `model`, `tools[2].type`; None without one."""
    is_counted = not any(colon in body for colon in ESCAPED_COLON)
    if is_counted and body.count(b":") == msgspec.json.encode(parsed).count(b":"):
        return None
    members = json.loads(body.decode(), object_pairs_hook=_Members, parse_int=str, parse_float=str)
    return next(_duplicates(members, "", JUDGED), None)


class _Members(list[tuple[str, Any]]):
    """An object with all that it says."""


def _duplicates(value: object, place: str, judged: set[str]) -> Iterator[str]:
    if isinstance(value, _Members):
        seen = set()
        for key, inner in value:
            param = f"{place}.{key}" if place else key
            if key in seen and key in judged:
                yield param
            seen.add(key)
            if key not in FREE:
                yield from _duplicates(inner, param, JUDGED_INSIDE)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _duplicates(inner, f"{place}[{index}]", judged)
