"""Arguments that fit a function's JSON schema: the required properties, each with a value of its type."""

import json
from typing import Any

VALUES: dict[str, object] = {"integer": 1, "number": 1.5, "boolean": True, "array": [], "object": {}, "null": None}


def arguments_for(function: dict[str, Any], text: str) -> str:
    """As compact JSON; strings are `text`, an enum is its first value. Without `required` all properties are given."""
    schema = function.get("parameters") or {}
    properties = schema.get("properties") or {}
    names = schema.get("required") or list(properties)
    given = {name: _value(properties.get(name) or {}, text) for name in names}
    return json.dumps(given, ensure_ascii=False, separators=(",", ":"))


def _value(schema: dict[str, Any], text: str) -> object:
    if schema.get("enum"):
        return schema["enum"][0]
    kind = schema.get("type", "string")
    return VALUES.get(kind if isinstance(kind, str) else kind[0], text)
