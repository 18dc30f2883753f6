"""Request bodies that come compressed: gzip and zstd, one layer, inflated piece by piece within bounds. Pure.

Nothing is inflated beyond the bounds to find out that it is too large, so a bomb costs what an honest body may cost.
"""

import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

IDENTITY = ("", "identity")
TAKEN_BYTES = 64 * 1024
PIECE_BYTES = 256 * 1024  # about a millisecond's work: between two of them others have their turn
MOST_RATIO = 100  # JSON compresses to a tenth or, of repeated schemas, to a fiftieth
FREE_OF_RATIO_BYTES = 1024 * 1024  # little enough that it does not matter how small it came
WINDOW_LOG = 23  # 8 MiB, the most that RFC 9659 allows in a content encoding: memory that a decoder must set aside


class UnknownEncoding(Exception):
    """A content encoding that is not read, or more than one."""


class Damaged(Exception):
    """What came is not what the encoding says: cut short, no such stream, or something behind its end."""


class Inflated(Exception):
    """It would become larger than is allowed. `most`: bytes."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.most = most


class Inflater(Protocol):
    """A decompressor that gives no more than it is asked for, and says whether it has more of what it was given."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    @property
    def needs_input(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


def inflated(body: bytes, encoding: str, most: int) -> Iterator[bytes]:
    """The pieces of `body` as it was before; `encoding` as the header has it, `most` in bytes.

    UnknownEncoding at the first piece; Damaged or Inflated once it shows.
    """
    inflater = _inflater(encoding)
    bound = min(most, max(FREE_OF_RATIO_BYTES, MOST_RATIO * len(body)))
    size, read = 0, 0
    while not inflater.eof:
        data = body[read : read + TAKEN_BYTES] if inflater.needs_input else b""
        if inflater.needs_input and not data:
            raise Damaged("it ends too soon")
        read += len(data)
        try:
            piece = inflater.decompress(data, min(PIECE_BYTES, bound - size + 1))
        except (zlib.error, zstd.ZstdError) as error:
            raise Damaged(str(error)) from None
        size += len(piece)
        if size > bound:
            raise Inflated(bound)
        yield piece
    if inflater.unused_data or read < len(body):
        raise Damaged("something follows its end")


class _Gzip:
    """zlib's own object, with the manners of the other one."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(16 + zlib.MAX_WBITS)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        piece = self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)
        self.needs_input = len(piece) < max_length
        return piece


def _zstd() -> Inflater:
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: WINDOW_LOG})


def _inflater(encoding: str) -> Inflater:
    try:
        return _INFLATERS[encoding.strip().lower()]()
    except KeyError:
        raise UnknownEncoding(encoding) from None


_INFLATERS: dict[str, Callable[[], Inflater]] = {"gzip": _Gzip, "x-gzip": _Gzip, "zstd": _zstd}
