"""The ending that we give a stream whose upstream broke: a failure that every client sees as one (protocol.md 2.2)."""

from typing import Any

import msgspec

from gateway.wire.stream import BORDER


def broken_stream(response: dict[str, Any] | None, sequence_number: int, *, code: str, message: str) -> bytes:
    """A nested `error` event and `response.failed` with the same response, numbered on from `sequence_number`."""
    error = {"type": "server_error", "code": code, "message": message, "param": None}
    failed = {
        **(response or {"id": "", "object": "response", "created_at": 0, "model": ""}),
        "status": "failed",
        "error": {"code": code, "message": message},
        "output": [],
        "usage": None,
    }
    return b"".join(
        (
            _event("error", {"sequence_number": sequence_number, "error": error}),
            failed_event(failed, sequence_number + 1),
        )
    )


def failed_event(response: dict[str, Any], sequence_number: int) -> bytes:
    return _event("response.failed", {"sequence_number": sequence_number, "response": response})


def broken_chat_stream(*, code: str, message: str) -> bytes:
    """One data-only chunk that holds the error; [DONE] does not follow."""
    error = {"type": "server_error", "code": code, "message": message, "param": None}
    return b"data: " + msgspec.json.encode({"error": error}) + BORDER


def _event(kind: str, fields: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: " % kind.encode() + msgspec.json.encode({"type": kind, **fields}) + BORDER
