"""Keys that an object has twice: which of them counts is for each parser to say, so they are refused where we judge.

Pure. That there is none is told by a count: what was parsed, written again, has as many colons.
"""

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from gateway.wire.free_form import is_free_form
from gateway.wire.objects import Object
from gateway.wire.places import Trail, param_of

ESCAPED, ESCAPED_COLON = b"\\u003", (b"\\u003a", b"\\u003A")


def first_duplicate(body: bytes, parsed: Object) -> str | None:
    """The first key that stands twice in an object, free-form parts aside, e.g. `tools[2].type`; None without one."""
    is_counted = ESCAPED not in body or not any(colon in body for colon in ESCAPED_COLON)
    if is_counted and body.count(b":") == msgspec.json.encode(parsed).count(b":"):
        return None
    members = json.loads(body.decode(), object_pairs_hook=_Members, parse_int=str, parse_float=str)
    found = next(_duplicates(members, None, ""), None)
    return None if found is None else param_of(found)


class _Members(list[tuple[str, Any]]):
    """An object with all that it says."""


def _duplicates(value: object, place: Trail | None, holder: str) -> Iterator[Trail]:
    if isinstance(value, _Members):
        seen = set()
        for key, inner in value:
            if key in seen:
                yield place, key
            seen.add(key)
            if not is_free_form(holder, key):
                yield from _duplicates(inner, (place, key), key)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _duplicates(inner, (place, index), holder)
