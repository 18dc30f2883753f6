"""How a batch of holds and ends is written: one call at a time (connection.py), until each item is answered.

A batch goes the fast way, all or nothing in one call. Where that gives up (a hold does not fit, a window is to be
opened, an item is not new) its ends and then its holds are decided item by item (billing/sql/metering.sql).
"""

import logging
import time
from collections.abc import Callable, Sequence
from uuid import UUID

import msgspec

from billing.metering.alarms import raise_alarm
from billing.metering.batch import UNSAYABLE, Batch, End, Waiter, items_of
from billing.metering.connection import Connection, GaveUp, Refused, Stuck
from billing.metering.refusals import BillingUnavailable, HoldOutcome, QuotaExceeded, Unpriced, outcomes_of
from billing.record import Hold, Settlement, bare, refused

logger = logging.getLogger(__name__)

TIGHT_SECONDS = 1.0
MOST_TIGHT = 10_000
WRITE = "SELECT billing_write(%s::uuid[], %s::json, %s::uuid[], %s::json)"
END_EXACTLY = "SELECT billing_end_exactly(%s::json)::text"
HOLD_EXACTLY = "SELECT billing_hold_exactly(%s::json)::text"
HOLD_ANEW = "SELECT billing_hold_anew(%s::json)"
MARK = "SELECT billing_mark_progress(%s::json)"
GAVE_UP = ("TG001", "23505")  # how WRITE says that it did nothing


class Writing:
    """Writes the batches of one lane, and gives back what is left of them: to `void` a hold that is there and that
    nobody waits for any more, to `retry` what remains of a refused end, to `park` what is to come again after a while.
    """

    def __init__(
        self,
        connection: Connection,
        when_ended: Callable[[UUID], None],
        *,
        void: Callable[[Hold], None],
        retry: Callable[[End], None],
        park: Callable[[Batch], None],
    ) -> None:
        self.under_way = Batch()  # what is not answered yet
        self._connection = connection
        self._when_ended = when_ended
        self._void = void
        self._retry = retry
        self._park = park
        self._tight: dict[UUID, float] = {}  # organizations that were refused, and when

    async def write(self, batch: Batch) -> None:
        """Returns once it is known what became of each item."""
        self.under_way = batch
        await self._decide(batch)
        await self._mark(batch)
        self.under_way = Batch()

    def abandon(self) -> Batch:
        """What a call that died left unanswered; it is no longer under way."""
        left, self.under_way = self.under_way, Batch()
        return left

    async def _decide(self, batch: Batch) -> None:
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
                ended = await self._connection.call(WRITE, rest.parameters(), GAVE_UP)
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
                ended = await self._connection.call(WRITE, batch.parameters(of_holds=False), GAVE_UP)
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
            self.under_way.ends.pop(record_id, None)

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
            self.under_way.holds.pop(hold.id, None)

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
                await self._decide(single)
            return
        for hold, waiter in list(batch.holds.values()):
            logger.error("metering: the hold of record %s is refused: %s", hold.id, error)
            if not waiter.done():
                waiter.set_exception(BillingUnavailable("The record was refused."))
            self.under_way.holds.pop(hold.id, None)
        for settlement, waiter, known in list(batch.ends.values()):
            logger.error("metering: the end of record %s is refused: %s: %r", settlement.id, error, bare(settlement))
            raise_alarm("refused", settlement, known)
            less = _less(settlement)
            if isinstance(error, Stuck):
                self._park(batch)
            elif less != settlement:
                self._retry(End(less, waiter, known))
            elif not waiter.done():  # not even that: it stays in the spool, its hold in the database
                waiter.set_exception(BillingUnavailable("The end was refused."))
            self.under_way.ends.pop(settlement.id, None)


def _less(settlement: Settlement) -> Settlement:
    """What may be taken of a refused end: its figures, and if these are refused too, that there was one."""
    figures = bare(settlement)
    return refused(settlement.id) if settlement == figures else figures


def _tell(waiter: Waiter, refusal: Exception | None) -> None:
    if refusal is None:
        waiter.set_result(None)
    else:
        waiter.set_exception(refusal)


def _is_given_up(waiter: Waiter) -> bool:
    """Whether its caller left before it was known what became of the hold; a refusal is an answer."""
    return waiter.cancelled() or isinstance(waiter.exception(), BillingUnavailable)
