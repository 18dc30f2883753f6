"""The way of holds and ends into the database: one call at a time (connection.py), each carrying what has gathered.

No timer: at low load a batch of one leaves at once. On a busy loop what is about to be handed in is waited for: a few
rounds of the loop, while they bring something. Callers wait beside the lane and may leave; once it is known what became
of a batch, those of its holds that nobody waits for any more are voided.

A batch goes the fast way, all or nothing in one statement. Where that gives up (a hold does not fit, a window is to be
opened, an item is not new) its ends and then its holds are decided item by item (billing/sql/metering.sql).
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from uuid import UUID

import msgspec

from billing.metering.alarms import raise_alarm
from billing.metering.batch import Batch, End, Waiter, items_of
from billing.metering.connection import Connection, GaveUp, Refused, Stuck
from billing.metering.refusals import BillingUnavailable, HoldOutcome, QuotaExceeded, Unpriced, outcomes_of
from billing.record import Hold, Progress, Settlement, bare, refused, void

logger = logging.getLogger(__name__)

LARGEST_BATCH = 256
CUT_SECONDS = 0.1  # until a call whose connection was cut has failed
MOST_ROUNDS = 8  # of the loop, before a batch leaves: each brings what the loop had ready meanwhile
QUIET_ROUNDS = 2  # that brought nothing: nobody else is about to come
TIGHT_SECONDS = 1.0
MOST_TIGHT = 10_000
WRITE = "SELECT billing_write(%s::json, %s::json)"
END_EXACTLY = "SELECT billing_end_exactly(%s::json)::text"
HOLD_EXACTLY = "SELECT billing_hold_exactly(%s::json)::text"
HOLD_ANEW = "SELECT billing_hold_anew(%s::json)"
MARK = "SELECT billing_mark_progress(%s::json)"
NOTHING = "[]"
# What JSON cannot say, such as half a character, or lists in lists without end.
UNSAYABLE = (ValueError, TypeError, OverflowError, RecursionError)
GAVE_UP = ("TG001", "23505")  # how WRITE says that it did nothing
PARKED_SECONDS = 5.0


class Lane:
    """The lane of one process. `when_ended` is told each request whose end is known to be durable."""

    def __init__(self, conninfo: str, when_ended: Callable[[UUID], None]) -> None:
        self._when_ended = when_ended
        self._gathered = Batch()
        self._under_way = Batch()
        self._parked = Batch()
        self._something = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._tight: dict[UUID, float] = {}  # organizations that were refused, and when
        self._connection = Connection(conninfo, "metering")
        self._task: asyncio.Task[None] | None = None
        self._is_closing = False

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="metering lane")
        self._task.add_done_callback(self._died)

    async def close(self, seconds: float) -> bool:
        """Waits up to `seconds` until everything handed in is written, then ends the lane. Whether all of it was."""
        if self._task is None:
            return True
        self._unpark()
        idle = asyncio.ensure_future(self._idle.wait())
        await asyncio.wait([idle], timeout=seconds)
        idle.cancel()
        if unwritten := len(self._gathered) + len(self._under_way) + len(self._parked):
            logger.error("%d holds and ends are not written: the database did not answer", unwritten)
            self._connection.cut()
            await asyncio.sleep(CUT_SECONDS)  # the call under way fails of it, so that it need not be cancelled
        self._is_closing = True
        self._task.cancel()
        await asyncio.wait([self._task], timeout=1)
        await self._connection.close()
        return not unwritten

    def hold(self, hold: Hold) -> Waiter:
        """Done once it is durable; an exception of refusals.py where it is not."""
        waiter = _new_waiter()
        self._gathered.holds[hold.id] = (hold, waiter)
        self._wake()
        return waiter

    def take_back(self, hold: Hold, waiter: Waiter) -> None:
        """It will never go upstream. Not sent, it is forgotten; under way, it is voided once that is known."""
        if is_fulfilled(waiter):
            self._void(hold)
        else:
            self._gathered.holds.pop(hold.id, None)

    def end(self, settlement: Settlement, hold: Hold | None = None) -> Waiter:
        """Done once it is durable. The first end handed in for a record is the one that counts. `hold`: that of a
        request which went upstream, made anew should the database have lost it.
        """
        for batch in (self._gathered, self._under_way, self._parked):
            if settlement.id in batch.ends:
                return batch.ends[settlement.id].waiter
        end = End(settlement, _new_waiter(), hold)
        self._gathered.ends[settlement.id] = end
        self._wake()
        return end.waiter

    def mark(self, progress: Progress) -> None:
        """The newest mark of a request counts; it is kept when there is time."""
        self._gathered.marks[progress.id] = progress
        self._wake()

    def holding(self) -> set[UUID]:
        """The requests whose hold is handed in, and not known to be there yet."""
        return self._gathered.holds.keys() | self._under_way.holds.keys() | self._parked.holds.keys()

    def _void(self, hold: Hold) -> None:
        self.end(void(hold.id, status=None, flags=("undispatched",)))

    def _wake(self) -> None:
        self._idle.clear()
        self._something.set()

    def _park(self, batch: Batch) -> None:
        """To be tried again after a while: nobody else is to wait for it."""
        self._parked.add(batch)
        asyncio.get_running_loop().call_later(PARKED_SECONDS, self._unpark)

    def _unpark(self) -> None:
        if self._parked:
            parked, self._parked = self._parked, Batch()
            self._gathered.add(parked)
            self._wake()

    # Batches ------------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        await self._connection.close()  # of a lane that died in the middle of a call
        while True:
            await self._something.wait()
            # Before anything is taken: what waits here was not sent, and can be taken back without a trace.
            await self._connection.open()
            await self._gather()
            self._under_way = self._gathered.take(LARGEST_BATCH)
            if self._under_way:
                await self._write(self._under_way)
                await self._mark(self._under_way)
                self._under_way = Batch()
            else:
                self._something.clear()
                self._idle.set()

    def _died(self, task: "asyncio.Task[None]") -> None:
        """Nothing may end the lane but `close`: everybody's money goes this way. It is not known how far it came with
        its batch, which is repeated.
        """
        if self._is_closing:
            return
        error = None if task.cancelled() else task.exception()
        logger.error("metering: the lane died of %r and began anew", error, exc_info=error)
        self._park(self._under_way)
        self._under_way = Batch()
        self.start()

    async def _gather(self) -> None:
        """A larger batch costs hardly more, and a loop with much to do has more of it ready: no time is lost."""
        size, quiet = len(self._gathered), 0
        for _ in range(MOST_ROUNDS):
            await asyncio.sleep(0)
            before, size = size, len(self._gathered)
            quiet = quiet + 1 if size == before else 0
            if quiet == QUIET_ROUNDS or size >= LARGEST_BATCH:
                return

    async def _write(self, batch: Batch) -> None:
        """Returns once it is known what became of each end and hold. What was answered is no longer under way: should
        any of this fail, it is not asked for again, since its id may stand for another hold by then.
        """
        try:
            if batch.ends or batch.holds:
                await self._write_items(batch)
        except (Refused, *UNSAYABLE) as error:
            await self._write_one_by_one(batch, error)

    async def _mark(self, batch: Batch) -> None:
        """Marks that are refused are dropped: newer ones will come."""
        if batch.marks:
            try:
                await self._connection.call(MARK, [batch.mark_items()])
            except (Refused, *UNSAYABLE) as error:
                logger.warning("metering: %d marks of progress are refused: %s", len(batch.marks), error)

    async def _write_items(self, batch: Batch) -> None:
        rest, tight = batch.without(self._tight_of(batch))
        try:
            ended = []
            if rest.ends or rest.holds:
                ended = await self._connection.call(WRITE, [rest.end_items(), rest.hold_items()], GAVE_UP)
        except GaveUp:
            await self._end_items(batch)
            await self._hold_exactly(batch)
        else:
            self._held(rest, {})
            await self._ended(batch, ended)
            await self._hold_exactly(tight)

    async def _end_items(self, batch: Batch) -> None:
        """The ends alone: they always fit."""
        if batch.ends:
            try:
                ended = await self._connection.call(WRITE, [batch.end_items(), NOTHING], GAVE_UP)
            except GaveUp:
                ended = []
            await self._ended(batch, ended)

    async def _ended(self, batch: Batch, ended: Sequence[UUID]) -> None:
        """What had no hold (any more) is looked at again: a repetition, or the truth after an estimate."""
        missed = batch.ends.keys() - set(ended)
        if missed and (unknown := await self._end_exactly(batch, missed)):
            await self._end_lost(batch, unknown)
        for record_id, (_, waiter, _) in list(batch.ends.items()):
            self._when_ended(record_id)
            if not waiter.done():
                waiter.set_result(None)
            self._under_way.ends.pop(record_id, None)

    async def _end_exactly(self, batch: Batch, record_ids: set[UUID]) -> set[UUID]:
        """Those of which the database knows neither hold nor record."""
        answer = await self._connection.call(END_EXACTLY, [batch.end_items(record_ids)])
        return {UUID(record_id) for record_id, outcome in msgspec.json.decode(answer).items() if outcome == "unknown"}

    async def _end_lost(self, batch: Batch, record_ids: set[UUID]) -> None:
        """The database lost their holds, which are made anew where we know them."""
        holds = [end.hold for record_id in record_ids if (end := batch.ends[record_id]).hold is not None]
        for record_id in record_ids:
            settlement, _, hold = batch.ends[record_id]
            if hold is not None or settlement.state != "void":  # else nothing was sent, and nothing is lost
                raise_alarm("hold_lost", settlement, hold)
        if holds:
            await self._connection.call(HOLD_ANEW, [items_of(holds)])
            record_ids = await self._end_exactly(batch, record_ids)
        for record_id in record_ids:
            lost = bare(batch.ends[record_id].settlement)
            logger.error("metering: record %s ended and its hold is lost: %r", record_id, lost)

    async def _hold_exactly(self, batch: Batch) -> None:
        if batch.holds:
            self._held(batch, outcomes_of(await self._connection.call(HOLD_EXACTLY, [batch.hold_items()])))

    def _held(self, batch: Batch, outcomes: dict[UUID, HoldOutcome]) -> None:
        """Tells who waits; a hold that nobody waits for any more is voided. No outcome: it is held."""
        for hold, waiter in list(batch.holds.values()):
            outcome = outcomes.get(hold.id)
            refusal = outcome.refusal if outcome else None
            if isinstance(refusal, QuotaExceeded | Unpriced):
                self._tight[hold.organization_id] = time.monotonic()
            if not waiter.done():
                _tell(waiter, refusal)
            elif refusal is None and _is_given_up(waiter):  # it was sent, so it is there
                self._void(hold)
            self._under_way.holds.pop(hold.id, None)

    def _tight_of(self, batch: Batch) -> set[UUID]:
        """The organizations whose holds are likely not to fit: the fast way would be tried in vain, for all others."""
        if len(self._tight) > MOST_TIGHT:
            self._tight.clear()
        if not self._tight:
            return set()
        since = time.monotonic() - TIGHT_SECONDS
        asking = {hold.organization_id for hold, _ in batch.holds.values()}
        return {organization for organization in asking & self._tight.keys() if self._tight[organization] > since}

    async def _write_one_by_one(self, batch: Batch, error: Exception) -> None:
        """One item that the database refuses must not keep its neighbours."""
        if len(batch) > 1:
            for single in list(batch.singles()):
                await self._write(single)
            return
        for hold, waiter in list(batch.holds.values()):
            logger.error("metering: the hold of record %s is refused: %s", hold.id, error)
            if not waiter.done():
                waiter.set_exception(BillingUnavailable("The record was refused."))
            self._under_way.holds.pop(hold.id, None)
        for settlement, waiter, known in list(batch.ends.values()):
            logger.error("metering: the end of record %s is refused: %s: %r", settlement.id, error, bare(settlement))
            raise_alarm("refused", settlement, known)
            less = _less(settlement)
            if isinstance(error, Stuck):
                self._park(batch)
            elif less != settlement:
                self._gathered.ends.setdefault(settlement.id, End(less, waiter, known))
            elif not waiter.done():  # not even that: it stays in the spool, its hold in the database
                waiter.set_exception(BillingUnavailable("The end was refused."))
            self._under_way.ends.pop(settlement.id, None)


def _less(settlement: Settlement) -> Settlement:
    """What may be taken of a refused end: its figures, and if these are refused too, that there was one."""
    figures = bare(settlement)
    return refused(settlement.id) if settlement == figures else figures


def _new_waiter() -> Waiter:
    waiter: Waiter = asyncio.get_running_loop().create_future()
    waiter.add_done_callback(_retrieved)
    return waiter


def is_fulfilled(waiter: Waiter) -> bool:
    return waiter.done() and not waiter.cancelled() and waiter.exception() is None


def _tell(waiter: Waiter, refusal: Exception | None) -> None:
    if refusal is None:
        waiter.set_result(None)
    else:
        waiter.set_exception(refusal)


def _is_given_up(waiter: Waiter) -> bool:
    """Whether its caller left before it was known what became of the hold; a refusal is an answer."""
    return waiter.cancelled() or isinstance(waiter.exception(), BillingUnavailable)


def _retrieved(waiter: Waiter) -> None:
    """Nobody may be left to look at a refusal; it was logged."""
    if not waiter.cancelled():
        waiter.exception()
