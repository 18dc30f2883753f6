"""What a dead process left open is ended by another of its host, which replays its spool: that says how far each had
come. Where the whole host is lost, reaping.py has what the database knows.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Self
from uuid import UUID

from psycopg_pool import AsyncConnectionPool

from billing import faults
from billing.record import Hold, Settlement, void
from billing.recovery.orphan import (
    ORPHANS,
    BasisOf,
    Orphan,
    Truth,
    end_of,
    final_of,
    hold_of,
    orphan_of,
    orphan_of_hold,
    with_entries,
)
from billing.spool.abandoned import Abandoned, abandoned, take
from billing.spool.format import Entry, Kind

logger = logging.getLogger(__name__)

AT_ONCE = 64
ORPHANS_OF = ORPHANS + "WHERE process_id = %s"
STOPPED = "UPDATE billing_process SET stopped_at = coalesce(stopped_at, now()) WHERE id = %s"
# Takes the payload of an owner's entry; what it says only the gateway knows.
Own = Callable[[bytes], Awaitable[None]]


class Replay:
    """Ends what dead processes of this host left open, by their spools."""

    def __init__(
        self,
        spool_dir: Path,
        pool: AsyncConnectionPool,
        end: Callable[[Settlement, Hold | None], Awaitable[None]],
        truth: Truth,
        basis_of: BasisOf,
    ) -> None:
        """`end` hands a settlement in, with its hold where that is known, and returns once it is durable."""
        self._spool_dir = spool_dir
        self._pool = pool
        self._end = end
        self._truth = truth
        self._basis_of = basis_of
        self._own: Own | None = None

    def with_owners(self, own: Own) -> Self:
        """The same, which hands entries of owners to `own`; it returns once they are durable."""
        self._own = own
        return self

    async def run(self) -> int:
        """Replays every spool that nobody holds; returns how many. One that cannot be keeps no other."""
        replayed = 0
        for folder in await asyncio.to_thread(abandoned, self._spool_dir):
            try:
                spool = await asyncio.to_thread(take, folder)
                if spool is not None:
                    with spool:
                        await self._replay(spool)
                    replayed += 1
            except Exception as error:
                logger.error("the spool %s is not replayed yet (%s: %s)", folder, type(error).__name__, error)
        return replayed

    async def _replay(self, spool: Abandoned) -> None:
        requests = await asyncio.to_thread(spool.entries)
        orphans = await self._orphans(spool.process_id)
        logger.warning(
            "process %s is gone: %d requests in its spool, %d open", spool.process_id, len(requests), len(orphans)
        )
        pending = list(requests.items())
        for start in range(0, len(pending), AT_ONCE):
            await _all(self._replay_request(spool, *item, orphans) for item in pending[start : start + AT_ONCE])
        unknown = [orphan for record_id, orphan in orphans.items() if record_id not in requests]
        await _all(self._end_unknown(orphan, is_whole=requests.is_whole) for orphan in unknown)
        async with self._pool.connection() as connection:
            await connection.execute(STOPPED, [spool.process_id])
        await asyncio.to_thread(spool.remove)

    async def _replay_request(
        self, spool: Abandoned, record_id: UUID, entries: list[Entry], orphans: dict[UUID, Orphan]
    ) -> None:
        hold, end = hold_of(entries), final_of(entries)
        orphan = orphans.get(record_id) or (orphan_of_hold(hold) if hold else None)
        if end is None and orphan is not None:
            end = await self.end_of(with_entries(orphan, entries), "process_died")
        faults.reach("replay.entry")
        if end is not None:
            await self._end(end, hold)
        if self._own is not None:
            await _all(self._own(entry.payload) for entry in entries if entry.kind is Kind.OWNER)
        faults.reach("replay.settled")
        await asyncio.to_thread(spool.acknowledge, record_id)

    async def _end_unknown(self, orphan: Orphan, *, is_whole: bool) -> None:
        """Of this one the spool knows nothing: the process did not come to send it. Where the database knows better,
        or the spool is not whole, nobody can say so.
        """
        may_be_sent = orphan.seen is not None or bool(orphan.response_id) or not is_whole
        end = await self.end_of(orphan, "process_died") if may_be_sent else void(orphan.id, None, ("undispatched",))
        await self._end(end, None)

    async def end_of(self, orphan: Orphan, flag: str) -> Settlement:
        """What the upstream says of it, else an estimate."""
        return await end_of(orphan, self._truth, self._basis_of, flag)

    async def _orphans(self, process_id: UUID) -> dict[UUID, Orphan]:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(ORPHANS_OF, [process_id])
            return {row[0]: orphan_of(row) for row in await cursor.fetchall()}


async def _all(steps: Iterable[Awaitable[None]]) -> None:
    """Returns when all have ended, also those beside one that failed; raises what the first of these did."""
    for failure in await asyncio.gather(*steps, return_exceptions=True):
        if failure is not None:
            raise failure
