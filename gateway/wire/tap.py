"""The meter's eye on an answer: reads response id, served model and tier, usage and ending; never changes a byte. Pure.

A stream is watched in blocks of whole events. Events are parsed only where their bytes say that there is something to
read; deltas are counted, so that an answer that breaks off can be estimated. What follows the ending is not read.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from billing.prices.tokens import AbsurdUsage, TokenUsage
from gateway.wire.objects import Object, object_in
from gateway.wire.references import digest_of, issued_in
from gateway.wire.said import said_bytes
from gateway.wire.spans import Span
from gateway.wire.stream import BORDER, DONE, data_of, events_of, has_data
from gateway.wire.usage import is_chat_form, read_usage, tool_calls_of

# In the text of a delta a quote is escaped, so none of these comes from what a model says, but for [DONE] and keys of
# the same name elsewhere; there parsing tells. Bytes are searched for, a pattern with alternatives takes three times as
# long. Chat chunks are told by `"usage"` and [DONE].
TELLING = (b'"response"', b'"error"', b'"usage"', b'"response.output_item.', DONE)
DELTA = re.compile(rb'"type":\s*"[a-z_.]+\.delta"')
CHAT_DELTA = re.compile(rb'"(?:content|reasoning|reasoning_content|refusal|arguments)":\s*"[^"]')
BYTES_OF_A_DELTA = 4
MOST_ISSUED = 10_000  # of one answer; what is beyond is unknown
TERMINAL = {"response.completed": "completed", "response.incomplete": "incomplete", "response.failed": "failed"}


@dataclass(slots=True)
class Reading:
    """What was read so far. `ending`: completed, incomplete, failed, or None while there was none."""

    response_id: str = ""
    response_ids: dict[str, None] = field(default_factory=dict)  # all that were seen: one, where all is well
    model: str = ""
    delta_events: int = 0
    service_tier: str = ""
    usage: TokenUsage | None = None
    reported_usage: Any = None
    absurd: bool = False
    tool_calls: dict[str, int] = field(default_factory=dict)
    ending: str | None = None
    error_code: str | None = None
    issued: dict[int, None] = field(default_factory=dict)  # digests of what its items gave away
    answer: Object | None = None  # of a plain answer
    unread_bytes: int = 0  # of a plain answer that is too large to be read

    @property
    def deltas(self) -> int:
        """How many deltas were seen; of a plain answer, about how many it would have taken to say it."""
        if self.answer is None and not self.unread_bytes:
            return self.delta_events
        return -(-(said_bytes(self.answer or {}) + self.unread_bytes) // BYTES_OF_A_DELTA)

    def begin(self, response: Object) -> None:
        """Takes over what a response object says of itself before it is complete. Its usage is not one yet."""
        if name := _text(response.get("id")):
            self.response_id = self.response_id or name
            self.response_ids[name] = None
        self.model = _text(response.get("model")) or self.model
        self.service_tier = _text(response.get("service_tier")) or self.service_tier

    def end(self, response: Object, ending: str) -> None:
        """Takes over all that a complete response or chat completion says."""
        self.begin(response)
        self.tool_calls = tool_calls_of(response)
        self.report(response.get("usage"))
        self.give(response.get("output"))
        self.ending = ending
        error = response.get("error")
        self.error_code = _text(error.get("code")) if isinstance(error, dict) else None

    def give(self, output: object) -> None:
        """Takes over what these output items give away."""
        for kind, name in issued_in(output):
            if len(self.issued) >= MOST_ISSUED:
                return
            self.issued[digest_of(kind, name)] = None

    def report(self, usage: Any) -> None:
        """Takes over a usage object; a later one counts if it can be true: chat chunks may report as they go."""
        try:
            tokens = read_usage(usage)
        except AbsurdUsage:
            self.absurd, tokens = True, None
        if tokens is not None or self.usage is None:
            self.usage, self.reported_usage = tokens, usage


class Tap:
    """Watches one stream."""

    def __init__(self) -> None:
        self.reading = Reading()
        self.events = 0  # with data; one with several lines of data counts as several
        self.is_chat = False
        self._last_response = b""  # the event that showed it; as an object it takes three times the memory
        self._response: Object | None = None  # of it, once somebody asked
        self.error: Object | None = None  # an upstream's own `error` event
        self._numbered_block = b""  # the last one with a sequence number
        self._unnumbered_events = 0  # since

    def watch(self, block: bytes) -> int | None:
        """Reads a block of whole events; where the stream's ending is among them, the offset at which it starts."""
        ending = self._ending_in(block) if self.reading.ending is None else None
        self._count(block)
        return ending

    def copied(self) -> "Tap":
        """As it is now; it shares what it has read."""
        tap = Tap.__new__(Tap)
        tap.__dict__.update(self.__dict__)
        return tap

    @property
    def response(self) -> Object | None:
        """The response object as last seen, for an ending of our own."""
        if self._response is None and self._last_response:
            self._response = (object_in(self._last_response) or {}).get("response")
        return self._response

    @property
    def delta_events(self) -> int:
        return self.reading.delta_events

    @property
    def next_sequence_number(self) -> int:
        """What an event of ours after the last one seen would be numbered; one without a number counts as one."""
        following = self._unnumbered_events
        for event in reversed(list(events_of(self._numbered_block))):
            number = (object_in(data_of(event)) or {}).get("sequence_number")
            if isinstance(number, int):
                return number + 1 + following
            following += has_data(event)
        return self.events

    def has_chat_usage(self, block: bytes) -> bool:
        """Whether the block just watched has a usage object that lacks the Responses keys."""
        if self.is_chat:
            return b'"usage"' in block
        return self.reading.ending is not None and is_chat_form(self.reading.reported_usage) and b'"usage"' in block

    def _count(self, block: bytes) -> None:
        events = block.count(b"\ndata:") + block.startswith(b"data:")
        if not events:
            return
        self.events += events
        self.reading.delta_events += len((CHAT_DELTA if self.is_chat else DELTA).findall(block))
        if b'"sequence_number"' in block:
            self._numbered_block, self._unnumbered_events = block, 0
        else:
            self._unnumbered_events += events

    def _ending_in(self, block: bytes) -> int | None:
        position = 0
        for event in events_of(block) if not self.events else ():  # the first is read whatever it says
            position += len(event)
            if self._ends_with(event):
                return position - len(event)
            if has_data(event):
                break
        for start, end in _telling_events(block, position):
            if self._ends_with(block[start:end]):
                return start
        return None

    def _ends_with(self, event: bytes) -> bool:
        data = data_of(event)
        if data.strip() == DONE and self.is_chat:
            self.reading.ending = "completed"
            return True
        message = object_in(data)
        if message is None:
            return False
        if isinstance(message.get("choices"), list):
            self.is_chat = True
            self.reading.begin(message)
            self.reading.report(message.get("usage"))
            return False
        return self._ends_with_event(message, data)

    def _ends_with_event(self, message: Object, data: bytes) -> bool:
        kind, response = message.get("type"), message.get("response")
        if kind == "error" or (kind is None and message.get("error")):
            self.error = message
        self._give_item(kind, message.get("item"))
        if not isinstance(response, dict):
            return False
        self._last_response, self._response = data, None
        ending = TERMINAL.get(kind) if isinstance(kind, str) else None
        if ending is None:
            self.reading.begin(response)
            return False
        self.reading.end(response, ending)
        return True

    def _give_item(self, kind: object, item: object) -> None:
        """An item that is but begun has an id, by which the client may name it if the stream breaks."""
        if kind == "response.output_item.done":
            self.reading.give([item])
        elif kind == "response.output_item.added" and isinstance(item, dict):
            self.reading.give([{"id": item.get("id")}])


def _telling_events(block: bytes, position: int) -> Iterator[Span]:
    """Start and end of the events, from `position` on, in which there may be something to read."""
    marks = {mark: at for mark in TELLING if (at := block.find(mark, position)) >= 0}
    while marks:
        at = min(marks.values())
        border, end = block.rfind(BORDER, position, at), block.find(BORDER, at)
        start, position = (border + 2 if border >= 0 else position), (end + 2 if end >= 0 else len(block))
        yield start, position
        passed = [mark for mark, at in marks.items() if at < position]
        marks |= {mark: block.find(mark, position) for mark in passed}
        marks = {mark: at for mark, at in marks.items() if at >= 0}


def read_answer(body: bytes) -> Reading | None:
    """What a JSON answer says, a response or a chat completion; None where it is no JSON object."""
    answer = object_in(body)
    if answer is None:
        return None
    reading = Reading()
    status = _text(answer.get("status"))
    if status not in TERMINAL.values():
        status = "failed" if answer.get("error") else "completed"
    reading.end(answer, status)
    reading.answer = answer
    return reading


def read_stored(body: bytes) -> Reading | None:
    """What a stored response says that was asked for by its id; None as long as it is not complete."""
    response = object_in(body)
    status = _text(response.get("status")) if response else ""
    if response is None or status not in TERMINAL.values():
        return None
    reading = Reading()
    reading.end(response, status)
    return reading


def is_whole(event: bytes) -> bool:
    """Whether an event that the end of the stream cut off is complete but for its blank line, or but a comment."""
    data = data_of(event)
    if not data:
        return all(line.startswith(b":") for line in event.split(b"\n") if line)
    return data.strip() == DONE or object_in(data) is not None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
