"""The bytes of a spool: records one after the other, each found again whatever lies before it.

    magic 4 | crc32 4 | payload length 4 | sequence 8 | kind 1 | request id 16 | payload        little endian

The magic word says where a record may begin (and the version of the format); its first byte occurs in no UTF-8 text.
The CRC covers all that follows it and starts from the spool's own id: what another spool wrote, or what a payload
makes look like a record, is none. The sequence tells a record's copy from another record, and gives the order.
"""

from collections.abc import Iterator
from enum import IntEnum
from struct import Struct
from typing import NamedTuple
from uuid import UUID
from zlib import crc32

MAGIC = b"\xf5Tg1"
PREFIX = Struct("<4sI")
BODY = Struct("<IQB16s")
VERSION_AT = 3  # in the magic word
HEADER_BYTES = PREFIX.size + BODY.size


class UnknownVersion(Exception):
    """Another version of the gateway wrote this: it is for a process of that version to replay."""


class Kind(IntEnum):
    """What a record tells of its request (money.md's end of a stream)."""

    DISPATCHED = 1
    OPENED = 2
    OWNER = 3
    PROGRESS = 4
    FINAL = 5
    ACKNOWLEDGED = 6


KINDS = {int(kind): kind for kind in Kind}


class Entry(NamedTuple):
    """A record as it is read back."""

    sequence: int
    kind: Kind
    record_id: UUID
    payload: bytes


class Damage(NamedTuple):
    """Bytes that are no record. `torn`: none follows in this segment, as a crash leaves it; else some were ruined."""

    offset: int
    length: int
    torn: bool


def check_version(segment: bytes) -> None:
    """UnknownVersion where the segment begins with a record of another version of the format."""
    version = segment[VERSION_AT : len(MAGIC)]
    if segment.startswith(MAGIC[:VERSION_AT]) and version.isdigit() and version != MAGIC[VERSION_AT:]:
        raise UnknownVersion(f"version {version.decode()} of the format")


def seed(process_id: UUID) -> int:
    """What the CRCs of a process's spool start from."""
    return crc32(process_id.bytes)


def encode(seed: int, sequence: int, kind: Kind, record_id: bytes, payload: bytes) -> bytes:
    body = BODY.pack(len(payload), sequence, kind, record_id) + payload
    return PREFIX.pack(MAGIC, crc32(body, seed)) + body


def read(segment: bytes, seed: int) -> Iterator[Entry | Damage]:
    """The records of a segment in the order they were written; between them what cannot be read, never left out.

    Zeros at the end are no damage: room that was allocated and not yet used.
    """
    offset = 0
    while offset < len(segment):
        entry = _decode(segment, offset, seed)
        if entry is not None:
            yield entry
            offset += HEADER_BYTES + len(entry.payload)
            continue
        begin, offset = offset, _next_record(segment, offset + 1, seed)
        if offset < len(segment):
            yield Damage(begin, offset - begin, torn=False)
        elif (rest := segment[begin:]) != bytes(len(rest)):
            yield Damage(begin, len(rest.rstrip(b"\0")), torn=True)


def _next_record(segment: bytes, offset: int, seed: int) -> int:
    """Where the first whole record from `offset` on begins; the segment's length if there is none."""
    while (offset := segment.find(MAGIC, offset)) >= 0:
        if _decode(segment, offset, seed) is not None:
            return offset
        offset += 1
    return len(segment)


def _decode(segment: bytes, offset: int, seed: int) -> Entry | None:
    if len(segment) - offset < HEADER_BYTES:
        return None
    magic, checksum = PREFIX.unpack_from(segment, offset)
    length, sequence, kind, record_id = BODY.unpack_from(segment, offset + PREFIX.size)
    end = offset + HEADER_BYTES + length
    if magic != MAGIC or end > len(segment) or kind not in KINDS:
        return None
    if crc32(memoryview(segment)[offset + PREFIX.size : end], seed) != checksum:
        return None
    return Entry(sequence, KINDS[kind], UUID(bytes=record_id), segment[offset + HEADER_BYTES : end])
