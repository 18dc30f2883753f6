"""What the request says: the texts of `instructions` and `input`, whatever form they come in."""

from collections.abc import Iterator
from typing import Any

Body = dict[str, Any]

BYTES_PER_TOKEN = 4


def texts_of(content: object) -> Iterator[str]:
    """Texts of a string or of a list of parts."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for part in content:
            if isinstance(part, dict) and isinstance(part.get("text"), str):
                yield part["text"]


def items(body: Body) -> list[dict[str, Any]]:
    """The input as a list of items; a plain string is one user message."""
    given = body.get("input")
    if isinstance(given, list):
        return [item for item in given if isinstance(item, dict)]
    return [{"role": "user", "content": given}] if isinstance(given, str) else []


def last_user_text(body: Body) -> str:
    for item in reversed(items(body)):
        if item.get("role") == "user":
            return "".join(texts_of(item.get("content")))
    return ""


def last_tool_output(body: Body) -> str | None:
    """The last function_call_output's text, or None where the input holds none."""
    for item in reversed(items(body)):
        if item.get("type") == "function_call_output":
            return "".join(texts_of(item.get("output")))
    return None


def input_tokens(body: Body) -> int:
    """UTF-8 bytes of the instructions and of all texts, tool outputs and arguments in the input, over 4, rounded up."""
    size = sum(len(text.encode()) for text in texts_of(body.get("instructions")))
    for item in items(body):
        for key in ("content", "output", "arguments"):
            size += sum(len(text.encode()) for text in texts_of(item.get(key)))
    return max(1, -(-size // BYTES_PER_TOKEN))
