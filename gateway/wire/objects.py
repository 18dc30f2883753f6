"""JSON objects that come from outside. Pure."""

from typing import Any

import msgspec

Object = dict[str, Any]


def object_in(document: bytes) -> Object | None:
    """The JSON object that `document` is; None where it is none, whatever the bytes."""
    try:
        value = msgspec.json.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
