"""Server-sent events as bytes: whole events in, whole events out. Pure.

The bytes of an event are never touched but for what breaks real clients: a byte order mark at the start is dropped, CR
and CRLF become LF, and the blank line that a last event may lack is added (protocol.md 2.3).
"""

from collections.abc import Iterator

BORDER = b"\n\n"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
DONE = b"[DONE]"


class EventTooLarge(Exception):
    """One event is larger than the bound on buffered bytes."""


class EventSplitter:
    """Cuts what arrives in chunks of any size at the borders between events."""

    def __init__(self, max_event_bytes: int) -> None:
        self._max_event_bytes = max_event_bytes
        self._pending = bytearray()
        self._start: bytes | None = b""  # what may become a byte order mark; None once that is decided
        self._after_cr = False

    def feed(self, data: bytes) -> bytes:
        """The whole events that `data` completes, in one piece; empty while none is complete."""
        if self._start is not None:
            data = self._without_byte_order_mark(data)
        if self._after_cr or b"\r" in data:
            data = self._with_line_feeds(data)
        if not self._pending and data.endswith(BORDER):
            return data  # the usual case: the chunk is whole events
        searched = max(0, len(self._pending) - 1)
        self._pending += data
        end = self._pending.rfind(BORDER, searched)
        if end < 0:
            if len(self._pending) > self._max_event_bytes:
                raise EventTooLarge(f"an event of more than {self._max_event_bytes} bytes")
            return b""
        with memoryview(self._pending) as pending:  # a slice would be one more copy of what may be megabytes
            whole = bytes(pending[: end + 2])
        del self._pending[: end + 2]
        return whole

    def close(self) -> bytes:
        """What is left at the end of the stream, an event completed with its blank line; empty when nothing is left."""
        rest = (self._start or b"") + bytes(self._pending)
        self._pending.clear()
        if not rest.strip(b"\n"):
            return rest
        return rest + (b"\n" if rest.endswith(b"\n") else BORDER)

    def _without_byte_order_mark(self, data: bytes) -> bytes:
        data = (self._start or b"") + data
        if len(data) < len(BYTE_ORDER_MARK) and BYTE_ORDER_MARK.startswith(data):
            self._start = data
            return b""
        self._start = None
        return data.removeprefix(BYTE_ORDER_MARK)

    def _with_line_feeds(self, data: bytes) -> bytes:
        # A CR at the end counts as a line end at once, so that its event need not wait for the next chunk; the LF that
        # may follow it there is then skipped.
        if self._after_cr and data:
            data = data.removeprefix(b"\n")
            self._after_cr = False
        if data.endswith(b"\r"):
            self._after_cr = True
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def events_of(block: bytes) -> Iterator[bytes]:
    """The events of a block of whole events, each with its blank line; extra blank lines stay with what follows."""
    start = 0
    while (end := block.find(BORDER, start)) >= 0:
        yield block[start : end + 2]
        start = end + 2
    if start < len(block):
        yield block[start:]


def has_data(block: bytes) -> bool:
    """Whether there is an event in the block, and not comments alone."""
    return block.startswith(b"data:") or b"\ndata:" in block


def data_of(event: bytes) -> bytes:
    """The data of an event, its lines joined; empty for comments and events without any."""
    start = 0 if event.startswith(b"data:") else event.find(b"\ndata:") + 1
    end = event.find(b"\n", start)
    if not event.startswith(b"data:", start) or end < 0 or event.find(b"\ndata:", end) >= 0:
        return b"\n".join(_data_lines(event))
    return event[start + (6 if event.startswith(b" ", start + 5) else 5) : end]  # one line, as nearly always


def with_data(event: bytes, data: bytes) -> bytes:
    """`event` with other data of as many lines: each takes the place of one, and not a byte is changed beside them."""
    new = iter(data.split(b"\n"))
    lines = event.split(b"\n")
    return b"\n".join(_prefix(line) + next(new) if line.startswith(b"data:") else line for line in lines)


def _prefix(line: bytes) -> bytes:
    return b"data: " if line.startswith(b"data: ") else b"data:"


def _data_lines(event: bytes) -> Iterator[bytes]:
    for line in event.split(b"\n"):
        if line.startswith(b"data:"):
            yield line[len(_prefix(line)) :]
