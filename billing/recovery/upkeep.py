"""What a gateway process does for the books beside its requests: it shows that it lives, ends what the dead of its host
left open, and looks for open requests in the database that it knows nothing of.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

from psycopg_pool import AsyncConnectionPool

from billing.metering.meter import Meter
from billing.record import void
from billing.recovery.replay import STOPPED, Replay

logger = logging.getLogger(__name__)

# One that beats lives, though it was taken for dead while it was cut off.
HEARTBEAT = """
INSERT INTO billing_process (id, host_id) VALUES (%s, %s)
ON CONFLICT (id) DO UPDATE SET heartbeat_at = now(), stopped_at = NULL
"""
# A little old: what is just being held is not known here yet.
OPEN = "SELECT id FROM billing_hold WHERE process_id = %s AND created_at < now() - make_interval(secs => %s)"


@dataclass(frozen=True, slots=True)
class Intervals:
    """Seconds between heartbeats, looks for abandoned spools, and audits."""

    heartbeat: float
    recovery: float
    audit: float


class Upkeep:
    """The three loops of one process."""

    def __init__(
        self, process_id: UUID, host_id: UUID, pool: AsyncConnectionPool, meter: Meter, replay: Replay
    ) -> None:
        self._process_id = process_id
        self._host_id = host_id
        self._pool = pool
        self._meter = meter
        self._replay = replay
        self._loops: list[asyncio.Task[None]] = []

    def start(self, intervals: Intervals) -> None:
        self._loops = [
            asyncio.create_task(_repeat(self._beat, intervals.heartbeat), name="heartbeat"),
            asyncio.create_task(_repeat(self._recover, intervals.recovery), name="recovery"),
            asyncio.create_task(_repeat(lambda: self._audit(intervals.audit), intervals.audit), name="audit"),
        ]

    async def pause(self) -> None:
        """Ends the loops: no replay is begun that the lane would have to wait for."""
        for loop in self._loops:
            loop.cancel()
        if self._loops:
            await asyncio.wait(self._loops, timeout=1)

    async def close(self) -> None:
        """Says that the process is gone, once the meter is closed."""
        if not self._meter.open_requests():  # else whoever replays the spool says so
            await _once(self._stop)

    async def _beat(self) -> None:
        async with self._pool.connection() as connection:
            await connection.execute(HEARTBEAT, [self._process_id, self._host_id])

    async def _stop(self) -> None:
        async with self._pool.connection() as connection:
            await connection.execute(STOPPED, [self._process_id])

    async def _recover(self) -> None:
        await self._replay.run()

    async def _audit(self, seconds: float) -> None:
        """A call whose connection was lost may be carried out long after it was given up: what it held is released."""
        before = self._meter.open_requests()  # one of these may end while the database is asked
        async with self._pool.connection() as connection:
            cursor = await connection.execute(OPEN, [self._process_id, seconds])
            found = {row[0] for row in await cursor.fetchall()}
        for record_id in found - before - self._meter.open_requests():
            logger.error("record %s is open in the database and not here: voided", record_id)
            self._meter.settle_soon(void(record_id, None, ("undispatched",)))


async def _repeat(step: Callable[[], Awaitable[None]], seconds: float) -> None:
    while True:
        await _once(step)
        await asyncio.sleep(seconds)


async def _once(step: Callable[[], Awaitable[None]]) -> None:
    """Whatever goes wrong, the next time must come."""
    try:
        await step()
    except Exception as error:
        logger.warning("upkeep: %s failed (%s: %s)", getattr(step, "__name__", "step"), type(error).__name__, error)
