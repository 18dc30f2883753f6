"""The kinds of JSON that the fields of a body must be, as far as the simulator reads them. null is none given."""

from collections.abc import Iterator
from typing import Any

from gateway.local.simulator import errors
from gateway.local.simulator.arguments import arguments_for
from gateway.local.simulator.errors import Refused

Kinds = dict[str, tuple[str, ...]]

NAMES = {str: "a string", bool: "a boolean", int: "an integer", float: "a number", list: "an array", dict: "an object"}
TEXT, FLAG, WHOLE, OBJECT = ("a string",), ("a boolean",), ("an integer",), ("an object",)
ARRAY, NUMBER = ("an array",), ("an integer", "a number")
TEXT_OR_ARRAY, TEXT_OR_OBJECT = TEXT + ARRAY, TEXT + OBJECT

BODY: Kinds = {
    "background": FLAG, "conversation": TEXT_OR_OBJECT, "include": ARRAY, "input": TEXT_OR_ARRAY, "instructions": TEXT,
    "max_output_tokens": WHOLE, "metadata": OBJECT, "parallel_tool_calls": FLAG, "previous_response_id": TEXT,
    "prompt": OBJECT, "prompt_cache_key": TEXT, "reasoning": OBJECT, "service_tier": TEXT, "store": FLAG,
    "stream": FLAG, "stream_options": OBJECT, "temperature": NUMBER, "text": OBJECT, "tool_choice": TEXT_OR_OBJECT,
    "tools": ARRAY, "top_logprobs": WHOLE, "top_p": NUMBER,
}  # fmt: skip
ITEM: Kinds = {
    "type": TEXT, "id": TEXT, "role": TEXT, "content": TEXT_OR_ARRAY, "output": TEXT_OR_ARRAY + OBJECT,
    "encrypted_content": TEXT,
}  # fmt: skip
TOOL: Kinds = {"type": TEXT, "name": TEXT, "parameters": OBJECT}


def check_kinds(body: dict[str, Any]) -> None:
    """Refused, with the first field that is of another kind."""
    _check(body, BODY, "")
    for place, item in _objects(body, "input"):
        _check(item, ITEM, f"{place}.")
    for place, tool in _objects(body, "tools"):
        _check(tool, TOOL, f"{place}.")
        if not tool.get("type"):
            raise Refused(errors.missing_parameter(f"{place}.type"))
        if tool.get("type") == "function":
            _check_function(place, tool)


def _check(value: dict[str, Any], kinds: Kinds, place: str) -> None:
    for name, expected in kinds.items():
        given = value.get(name)
        if given is not None and NAMES[type(given)] not in expected:
            raise Refused(errors.wrong_type(place + name, " or ".join(expected), NAMES[type(given)]))


def _objects(body: dict[str, Any], name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    given = body.get(name)
    for number, value in enumerate(given if isinstance(given, list) else []):
        if not isinstance(value, dict):
            got = "null" if value is None else NAMES[type(value)]
            raise Refused(errors.wrong_type(f"{name}[{number}]", "an object", got))
        yield f"{name}[{number}]", value


def _check_function(place: str, function: dict[str, Any]) -> None:
    if not function.get("name"):
        raise Refused(errors.missing_parameter(f"{place}.name"))
    try:
        arguments_for(function, "")
    except (TypeError, ValueError, AttributeError, LookupError):
        raise Refused(errors.invalid_function(place, function["name"])) from None
