"""The way of holds and ends into the database: one batch at a time (writing.py), each of what has gathered.

No timer: at low load a batch of one leaves at once. On a busy loop what is about to be handed in is waited for: a few
rounds of the loop, while they bring something. Callers wait beside the lane and may leave; once it is known what became
of a batch, those of its holds that nobody waits for any more are voided.
"""

import asyncio
import logging
from collections.abc import Callable
from uuid import UUID

from billing.metering.batch import Batch, End, Waiter
from billing.metering.connection import Connection
from billing.metering.writing import Writing
from billing.record import Hold, Progress, Settlement, void

logger = logging.getLogger(__name__)

LARGEST_BATCH = 256
CUT_SECONDS = 0.1  # until a call whose connection was cut has failed
MOST_ROUNDS = 8  # of the loop, before a batch leaves: each brings what the loop had ready meanwhile
QUIET_ROUNDS = 2  # that brought nothing: nobody else is about to come
PARKED_SECONDS = 5.0


class Lane:
    """The lane of one process. `when_ended` is told each request whose end is known to be durable."""

    def __init__(self, conninfo: str, when_ended: Callable[[UUID], None]) -> None:
        self._gathered = Batch()
        self._parked = Batch()
        self._something = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._connection = Connection(conninfo, "metering")
        self._writing = Writing(self._connection, when_ended, void=self._void, retry=self._retry, park=self._park)
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
        if unwritten := len(self._gathered) + len(self._writing.under_way) + len(self._parked):
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
        for batch in (self._gathered, self._writing.under_way, self._parked):
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
        return self._gathered.holds.keys() | self._writing.under_way.holds.keys() | self._parked.holds.keys()

    def _void(self, hold: Hold) -> None:
        self.end(void(hold.id, status=None, flags=("undispatched",)))

    def _wake(self) -> None:
        self._idle.clear()
        self._something.set()

    def _retry(self, end: End) -> None:
        """With the next batch, unless it was handed in anew."""
        self._gathered.ends.setdefault(end.settlement.id, end)

    def _park(self, batch: Batch) -> None:
        """To be tried again after a while: nobody else is to wait for it."""
        self._parked.add(batch)
        asyncio.get_running_loop().call_later(PARKED_SECONDS, self._unpark)

    def _unpark(self) -> None:
        if self._parked:
            parked, self._parked = self._parked, Batch()
            self._gathered.add(parked)
            self._wake()

    async def _run(self) -> None:
        await self._connection.close()  # of a lane that died in the middle of a call
        while True:
            await self._something.wait()
            # Before anything is taken: what waits here was not sent, and can be taken back without a trace.
            await self._connection.open()
            await self._gather()
            batch = self._gathered.take(LARGEST_BATCH)
            if batch:
                await self._writing.write(batch)
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
        self._park(self._writing.abandon())
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


def _new_waiter() -> Waiter:
    waiter: Waiter = asyncio.get_running_loop().create_future()
    waiter.add_done_callback(_retrieved)
    return waiter


def is_fulfilled(waiter: Waiter) -> bool:
    return waiter.done() and not waiter.cancelled() and waiter.exception() is None


def _retrieved(waiter: Waiter) -> None:
    """Nobody may be left to look at a refusal; it was logged."""
    if not waiter.cancelled():
        waiter.exception()
