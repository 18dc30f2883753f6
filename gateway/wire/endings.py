"""The ending that we give a stream whose upstream broke: a failure that every client sees as one (protocol.md 2.2)."""

from typing import Any

import msgspec

from gateway.wire.stream import BORDER
from gateway.wire.tap import Tap

BARE = {  # what the SDKs require of a response object, where the upstream has shown none
    "object": "response", "created_at": 0, "incomplete_details": None, "instructions": None, "metadata": {},
    "parallel_tool_calls": True, "temperature": None, "tool_choice": "auto", "tools": [], "top_p": None,
}  # fmt: skip


def ending_of_ours(tap: Tap, *, code: str, message: str) -> bytes:
    """What completes the stream that `tap` has watched so far.

    A Responses stream: a nested `error` event and `response.failed` with the same response, numbered on; after an
    `error` of the upstream's own only the latter, with its code. A chat stream: one chunk with the error, no [DONE].
    """
    if tap.is_chat:
        return b"data: " + msgspec.json.encode({"error": _error(code, message)}) + BORDER
    number = tap.next_sequence_number
    if tap.error is not None:
        nested = tap.error.get("error")
        said = nested if isinstance(nested, dict) else tap.error
        return _failed(tap, number, str(said.get("code") or code), str(said.get("message") or message))
    error = _event("error", {"sequence_number": number, "error": _error(code, message)})
    return error + _failed(tap, number + 1, code, message)


def _failed(tap: Tap, sequence_number: int, code: str, message: str) -> bytes:
    response = {
        **(tap.response or {"id": tap.reading.response_id, "model": tap.reading.model, **BARE}),
        "status": "failed",
        "error": {"code": code, "message": message},
        "output": [],
        "usage": None,
    }
    return _event("response.failed", {"sequence_number": sequence_number, "response": response})


def _error(code: str, message: str) -> dict[str, Any]:
    return {"type": "server_error", "code": code, "message": message, "param": None}


def _event(kind: str, fields: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: " % kind.encode() + msgspec.json.encode({"type": kind, **fields}) + BORDER
