"""The meter's eye on an answer: reads response id, served model and tier, usage and ending; never changes a byte. Pure.

A stream is watched in blocks of whole events. Events are parsed only where their bytes say that there is something to
read; deltas are counted, so that an answer that breaks off can be estimated.
"""

import re
from dataclasses import dataclass, field
from typing import Any

import msgspec

from billing.tokens import AbsurdUsage, TokenUsage
from gateway.wire.stream import DONE, data_of, events_of
from gateway.wire.usage import is_chat_form, read_usage, tool_calls_of

# In the text of a delta a quote is escaped, so `completed"` there is nearly always the type itself; where it is not,
# parsing tells. Chat chunks are told by `"usage"` and [DONE].
TELLING = re.compile(rb'response\.(?:created|completed|incomplete|failed)"|"error"|"usage"|\[DONE\]|"chat\.completion')
TERMINAL = {"response.completed": "completed", "response.incomplete": "incomplete", "response.failed": "failed"}
DELTA = b".delta\n"
CHAT_CHUNK = "chat.completion.chunk"


@dataclass(slots=True)
class Reading:
    """What was read so far. `ending`: completed, incomplete, failed, or None while there was none."""

    response_id: str = ""
    model: str = ""
    service_tier: str = ""
    usage: TokenUsage | None = None
    reported_usage: Any = None
    absurd: bool = False
    tool_calls: dict[str, int] = field(default_factory=dict)
    ending: str | None = None
    error_code: str | None = None

    def read_response(self, response: Any) -> None:
        """Takes over what a response object, a chat completion or a chat chunk says; the first valid usage wins."""
        if not isinstance(response, dict):
            return
        self.response_id = self.response_id or _text(response.get("id"))
        self.model = _text(response.get("model")) or self.model
        self.service_tier = _text(response.get("service_tier")) or self.service_tier
        self.tool_calls = tool_calls_of(response) or self.tool_calls
        if self.usage is None and response.get("usage") is not None:
            self.reported_usage = response["usage"]
            try:
                self.usage = read_usage(response["usage"])
            except AbsurdUsage:
                self.absurd = True


class Tap:
    """Watches one stream."""

    def __init__(self) -> None:
        self.reading = Reading()
        self.events = 0
        self.is_chat = False
        self.delta_events = 0
        self.delta_bytes = 0
        self.response: dict[str, Any] | None = None  # as last seen, for an ending of our own
        self.error: Any = None  # an upstream's own `error` event
        self._last_event = b""

    def watch(self, block: bytes) -> int | None:
        """Reads a block of whole events; where the stream's ending is among them, the offset at which it starts."""
        if self.events and TELLING.search(block) is None:
            self._count(block)
            return None
        ending, offset = None, 0
        for event in events_of(block):
            self._count(event)
            if self._read(event) and ending is None:
                ending = offset
            offset += len(event)
        return ending

    @property
    def next_sequence_number(self) -> int:
        """What an event of ours after the last one seen would be numbered."""
        data = _decoded(data_of(self._last_event))
        number = data.get("sequence_number") if isinstance(data, dict) else None
        return number + 1 if isinstance(number, int) else self.events

    def has_chat_usage(self, block: bytes) -> bool:
        """Whether the block just watched has a usage object that lacks the Responses keys."""
        if self.is_chat:
            return b'"usage"' in block
        return self.reading.ending is not None and is_chat_form(self.reading.reported_usage) and b'"usage"' in block

    def _count(self, block: bytes) -> None:
        deltas = block.count(DELTA)
        if deltas or self.is_chat:
            self.delta_events += deltas or block.count(b"data:")
            self.delta_bytes += len(block)
        self.events += max(block.count(b"\ndata:") + block.startswith(b"data:"), 0)
        start = block.rfind(b"\n\n", 0, -2)
        self._last_event = block[start + 2 if start >= 0 else 0 :]

    def _read(self, event: bytes) -> bool:
        """Whether this event ends the stream."""
        data = data_of(event)
        if data == DONE:
            if self.is_chat:
                self.reading.ending = self.reading.ending or "completed"
            return self.is_chat
        message = _decoded(data)
        if not isinstance(message, dict):
            return False
        if message.get("object") == CHAT_CHUNK:
            self.is_chat = True
            self.reading.read_response(message)
            return False
        return self._read_event(message)

    def _read_event(self, message: dict[str, Any]) -> bool:
        kind = message.get("type")
        if kind == "error":
            self.error = message
        response = message.get("response")
        if not isinstance(response, dict):
            return False
        self.response = response
        self.reading.read_response(response)
        if kind not in TERMINAL or self.reading.ending is not None:
            return False
        self.reading.ending = TERMINAL[kind]
        error = response.get("error")
        self.reading.error_code = _text(error.get("code")) if isinstance(error, dict) else None
        return True


def read_answer(body: bytes) -> Reading | None:
    """What a JSON answer says, a response or a chat completion; None where it is no JSON object."""
    answer = _decoded(body)
    if not isinstance(answer, dict):
        return None
    reading = Reading()
    reading.read_response(answer)
    status = _text(answer.get("status"))
    reading.ending = status if status in TERMINAL.values() else "completed"
    return reading


def is_whole(event: bytes) -> bool:
    """Whether an event that the end of the stream cut off is complete but for its blank line."""
    data = data_of(event)
    return data == DONE or not data or _decoded(data) is not None


def _decoded(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
