"""How events become bytes: the lines of an event, and how many bytes go into one write."""

import random
import re
from collections.abc import Iterable, Iterator
from typing import Protocol

import msgspec

from gateway.local.simulator.steps import Event

encode = msgspec.json.Encoder().encode


class Framing(msgspec.Struct, frozen=True):
    """The ordinary framing is `event: TYPE`, `data: JSON` and a blank line, all ended by LF."""

    line_end: bytes = b"\n"
    named: bool = True
    colon: bytes = b": "
    multiline: bool = False

    def event(self, event: Event) -> bytes:
        data = encode(event)
        if self.multiline:
            data = msgspec.json.format(data, indent=1).replace(b"\n", b"\ndata" + self.colon)
        name = event.get("type") if self.named else None
        first = b"event%b%b\n" % (self.colon, name.encode()) if name else b""
        return self.raw(b"%bdata%b%b\n\n" % (first, self.colon, data))

    def raw(self, data: bytes) -> bytes:
        return data if self.line_end == b"\n" else data.replace(b"\n", self.line_end)


class Writes(Protocol):
    """Cuts the bytes of a stream into writes: `take` what is ready after a frame, `rest` what is left when it waits."""

    def take(self, frame: bytes) -> Iterable[bytes]: ...

    def rest(self) -> Iterable[bytes]: ...


class WholeFrames:
    """One write a frame, as OpenAI does."""

    def take(self, frame: bytes) -> Iterable[bytes]:
        return (frame,)

    def rest(self) -> Iterable[bytes]:
        return ()


class SingleBytes(WholeFrames):
    def take(self, frame: bytes) -> Iterator[bytes]:
        return (frame[at : at + 1] for at in range(len(frame)))


class SplitCharacters(WholeFrames):
    """Each write ends after the first byte of a character of several."""

    def take(self, frame: bytes) -> Iterable[bytes]:
        return re.split(rb"(?<=[\xc0-\xff])", frame)


class Joined:
    """Up to `most` frames in one write; those of one wait are never held back beyond it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._frames: list[bytes] = []

    def take(self, frame: bytes) -> Iterable[bytes]:
        self._frames.append(frame)
        return self.rest() if len(self._frames) >= self._most else ()

    def rest(self) -> Iterable[bytes]:
        joined, self._frames = b"".join(self._frames), []
        return (joined,) if joined else ()


class RandomPieces:
    """Pieces of 1 to 60 bytes that know no border of event, line or character; the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._left = b""
        self._size = self._random.randint(1, 60)

    def take(self, frame: bytes) -> Iterator[bytes]:
        self._left += frame
        while len(self._left) >= self._size:
            piece, self._left = self._left[: self._size], self._left[self._size :]
            self._size = self._random.randint(1, 60)
            yield piece

    def rest(self) -> Iterable[bytes]:
        left, self._left = self._left, b""
        return (left,) if left else ()
