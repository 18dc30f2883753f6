"""What an answer is made of: events, and the things that happen between them.

An answer is an iterator of steps. What is said makes steps (`speech.py`), changes wrap such an iterator in
another (`changes.py`), and the player (`player.py`) turns each step into bytes or a wait.
"""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

Event = dict[str, Any]
CutWay = Literal["reset", "close", "stall", "badchunk"]


class Wait(NamedTuple):
    seconds: float


class Hold(NamedTuple):
    """Wait until a release, or `seconds` at most (None: for ever)."""

    seconds: float | None


class Raw(NamedTuple):
    """Bytes that are no event: a comment, `[DONE]`, a byte order mark. Line ends are written as \\n."""

    data: bytes


class Half(NamedTuple):
    """The first half of an event's bytes; it does not count as sent."""

    event: Event


class Unterminated(NamedTuple):
    """A step without its last line end."""

    step: "Event | Raw"


class Cut(NamedTuple):
    """The end of the connection: TCP reset, FIN without the last chunk, silence for ever, or a chunk that is none."""

    way: CutWay


Step = Event | Wait | Hold | Raw | Half | Unterminated | Cut
Steps = Iterator[Step]
