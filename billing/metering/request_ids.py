"""Request ids: UUIDv7 (RFC 9562), so that a usage record's id says when it began and its table is partitioned by it."""

import os
import time
from datetime import UTC, datetime
from uuid import UUID


def uuid7(milliseconds: int, randomness: bytes) -> UUID:
    """The id of that millisecond since 1970; `randomness` is 10 bytes of which 74 bits are used. Pure."""
    value = milliseconds << 80 | int.from_bytes(randomness, "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return UUID(int=value)


class RequestIds:
    """Makes ids by the database's clock: a replica whose own clock is off must not write into other months.

    Whatever else depends on the time of a request, a price or an expiry, goes by the same clock.
    """

    def __init__(self) -> None:
        # Seconds since 1970 at the monotonic clock's zero: a clock that is set anew moves nothing.
        self._epoch = time.time() - time.monotonic()

    def learn(self, database_time: float) -> None:
        """Takes over what the database's clock said just now, in seconds since 1970."""
        self._epoch = database_time - time.monotonic()

    def now(self) -> datetime:
        """The time by the database's clock, in UTC."""
        return datetime.fromtimestamp(self._seconds(), UTC)

    def new(self) -> UUID:
        return uuid7(int(self._seconds() * 1000), os.urandom(10))

    def _seconds(self) -> float:
        return self._epoch + time.monotonic()
