"""hold -> settle | void: the only way to usage records.

    await meter.hold(hold)         durable, or an exception of refusals.py
    meter.dispatched(id)           before the upstream connection is opened
    meter.opened(id, ...)          the upstream gave the answer an id
    meter.seen(id, ...)            how much of it has come
    await meter.settle(settlement) the end, kept before the last bytes may leave

What is known of an open request lies in the spool from its dispatch on, so that it outlives this process and an outage
of the database; the lane brings it to the database, and the spool forgets what has arrived there.
"""

import asyncio
import logging
import time
from uuid import UUID

import msgspec

from billing import faults
from billing.metering.alarms import raise_alarms
from billing.metering.batch import UNSAYABLE, Waiter
from billing.metering.lane import Lane, is_fulfilled
from billing.metering.refusals import BillingUnavailable
from billing.metering.waiting import done_within
from billing.record import Hold, Opened, Progress, Seen, Settlement, unanswered, void
from billing.spool.writer import Kind, Spool, SpoolFailed, is_progress_due

logger = logging.getLogger(__name__)

PROBE_SECONDS = 1.0


class _Open:
    """An open request of this process."""

    __slots__ = ("hold", "is_dispatched", "is_ended", "kept_at", "marked_at", "opened")

    def __init__(self, hold: Hold) -> None:
        self.hold = hold
        self.is_dispatched = False
        self.is_ended = False
        self.opened: Opened | None = None
        self.kept_at: float | None = None  # when its progress last went to the spool
        self.marked_at = time.monotonic()  # when it last went to the database


class Meter:
    """The books' door for one process. Any task may call it; no caller's leaving undoes what it has begun."""

    def __init__(
        self, conninfo: str, spool: Spool, *, hold_seconds: float, settle_seconds: float, progress_seconds: float
    ) -> None:
        """`progress_seconds`: how often the progress of a stream goes to the database."""
        self._lane = Lane(conninfo, self._when_ended)
        self._spool = spool
        self._hold_seconds = hold_seconds
        self._settle_seconds = settle_seconds
        self._progress_seconds = progress_seconds
        self._open: dict[UUID, _Open] = {}
        self._probe: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._lane.start()

    async def close(self, seconds: float) -> None:
        """Waits up to `seconds` until everything handed in is written; what is not stays in the spool."""
        is_written = await self._lane.close(seconds)
        if self._probe is not None:
            self._probe.cancel()
        await self._spool.close(keep=not is_written)  # a hold under way lies in no spool, but may come to be

    async def hold(self, hold: Hold) -> None:
        """Returns once the hold is durable; else an exception of refusals.py. Who leaves leaves a void."""
        if self._spool.is_failing:
            self._make_well()
            raise BillingUnavailable("The spool takes no more.")
        faults.reach("hold.before")
        waiter = self._lane.hold(hold)
        timer = asyncio.get_running_loop().call_later(self._hold_seconds, _expire, waiter)
        try:
            await waiter
            self._open[hold.id] = _Open(hold)
            faults.reach("hold.after")
        except BaseException:
            if hold.id in self._open:
                self._open[hold.id].is_ended = True
            self._lane.take_back(hold, waiter)
            raise
        finally:
            timer.cancel()

    def dispatched(self, record_id: UUID) -> None:
        """It may go upstream now. BillingUnavailable where that cannot be kept: then it must not."""
        request = self._open.get(record_id)
        try:
            self._spool.append(Kind.DISPATCHED, record_id, msgspec.json.encode(request.hold) if request else b"")
        except SpoolFailed as error:
            self._make_well()
            raise BillingUnavailable(str(error)) from error
        if request is not None:
            request.is_dispatched = True
        faults.reach("dispatch.after")

    def opened(self, record_id: UUID, opened: Opened) -> None:
        """The upstream gave the answer an id, by which it can be asked for later."""
        request = self._open.get(record_id)
        if request is not None and request.opened is None:
            request.opened = opened
            self._keep(Kind.OPENED, record_id, opened)

    def is_progress_due(self, record_id: UUID) -> bool:
        """Whether `seen` would keep how much has come: about once a second."""
        request = self._open.get(record_id)
        return request is not None and is_progress_due(request.kept_at, time.monotonic())

    def seen(self, record_id: UUID, seen: Seen) -> None:
        """How much has come: kept where that is due, and now and then in the database."""
        request = self._open.get(record_id)
        now = time.monotonic()
        if request is None or not is_progress_due(request.kept_at, now):
            return
        request.kept_at = now
        self._keep(Kind.PROGRESS, record_id, seen)
        if now - request.marked_at >= self._progress_seconds:
            request.marked_at = now
            response_id = request.opened.response_id if request.opened else ""
            self._lane.mark(Progress(id=record_id, response_id=response_id, progress=seen))

    async def settle(self, settlement: Settlement) -> bool:
        """Returns once the end outlives whatever dies: True if it is in the database, else it is on our disk."""
        waiter = self.settle_soon(settlement)
        faults.reach("final.spooled")
        await done_within(waiter, self._settle_seconds)
        if not is_fulfilled(waiter):
            try:
                await self._spool.sync()
            except SpoolFailed as error:
                logger.error("metering: the end of record %s is not on disk: %s", settlement.id, error)
        faults.reach("settle.after")
        return is_fulfilled(waiter)

    def settle_soon(self, settlement: Settlement) -> Waiter:
        """Hands an end in without waiting for it. The first end handed in for a record is the one that counts."""
        request = self._open.get(settlement.id)
        raise_alarms(settlement, request.hold if request else None)
        if request is None:
            return self._lane.end(settlement)
        request.is_ended = True
        self._keep(Kind.FINAL, settlement.id, settlement)
        # What was never sent is not worth a lost hold made anew: its end would change nothing.
        return self._lane.end(settlement, request.hold if request.is_dispatched else None)

    def release(self, record_id: UUID) -> None:
        """The request is over, however it went: what it left open ends here, and nobody need know how it came to it."""
        request = self._open.get(record_id)
        if request is None or request.is_ended:
            return
        logger.error("metering: record %s was left without an end", record_id)
        self.settle_soon(
            unanswered(record_id) if request.is_dispatched else void(record_id, None, ("undispatched",))
        )  # fmt: skip

    async def recover(self, settlement: Settlement, hold: Hold | None = None) -> None:
        """Ends a request of a process that is gone; `hold` as its spool has it. Returns once that is durable, however
        long it takes; BillingUnavailable where the database will not have it.
        """
        raise_alarms(settlement, hold)
        await asyncio.shield(self._lane.end(settlement, hold))

    def open_requests(self) -> set[UUID]:
        """The requests of this process that may be open in the database."""
        return self._open.keys() | self._lane.holding()

    def _when_ended(self, record_id: UUID) -> None:
        self._open.pop(record_id, None)
        self._spool.acknowledge(record_id)
        faults.reach("acknowledge.after")

    def _keep(self, kind: Kind, record_id: UUID, what: msgspec.Struct) -> None:
        """What cannot be kept is not worth the stream: the lane still brings its end to the database."""
        try:
            self._spool.append(kind, record_id, msgspec.json.encode(what))
        except (SpoolFailed, *UNSAYABLE) as error:
            logger.warning("metering: %s of record %s is not in the spool: %s", kind.name, record_id, error)
            self._make_well()

    def _make_well(self) -> None:
        """While the spool fails nothing is admitted; it is tried again about once a second."""
        if self._probe is None or self._probe.done():
            self._probe = asyncio.create_task(self._probe_spool(), name="spool probe")

    async def _probe_spool(self) -> None:
        while True:
            if await self._spool.probe():
                return
            await asyncio.sleep(PROBE_SECONDS)


def _expire(waiter: Waiter) -> None:
    if not waiter.done():
        waiter.set_exception(BillingUnavailable("The hold was not durable in time."))
