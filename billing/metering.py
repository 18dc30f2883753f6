"""hold -> settle | void: the only writer of usage records.

A process has one lane: one connection, and one call that carries what has gathered while the last one was under way,
settles first. No timer: at low load a batch of one leaves at once. Callers wait beside the lane and may leave. A batch
is repeated until it is known what became of it: a call whose answer was lost may still be carried out, however late,
so nothing may be decided about its holds before; once known, those that nobody waits for any more are voided.
"""

import asyncio
import logging
import os
import socket
from typing import Any
from uuid import UUID

import psycopg

from billing.batch import Batch, Waiter
from billing.record import Hold, Settlement, refused, void

logger = logging.getLogger(__name__)

LARGEST_BATCH = 256
RETRY_SECONDS = 0.2
HANGING_SECONDS = 5
# Plans stay nested loops over the ids in their order: the order of locks depends on it.
OPTIONS = "-c plan_cache_mode=force_generic_plan " + " ".join(
    f"-c {name}=off" for name in ("enable_hashjoin", "enable_mergejoin", "enable_seqscan", "jit")
)
# Classes of SQLSTATE by which the database refuses an item: bad data, a constraint, a limit. All else will pass.
REFUSALS = ("22", "23", "54")


class BillingUnavailable(Exception):
    """The hold was not durable in time: the request may not be admitted. Nothing is held for it."""


class Meter:
    """The lane of one process. Any task may call `hold` and `settle`."""

    def __init__(self, conninfo: str, *, hold_seconds: float, settle_seconds: float) -> None:
        self._conninfo = conninfo
        self._hold_seconds = hold_seconds
        self._settle_seconds = settle_seconds
        self._gathered = Batch()
        self._under_way = Batch()
        self._something = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._connection: psycopg.AsyncConnection[tuple[Any, ...]] | None = None
        self._lane: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._lane = asyncio.create_task(self._run(), name="metering lane")

    async def close(self, seconds: float) -> None:
        """Waits up to `seconds` until everything handed in is written, then ends the lane."""
        if self._lane is None:
            return
        idle = asyncio.ensure_future(self._idle.wait())
        await asyncio.wait([idle], timeout=seconds)
        idle.cancel()
        if unwritten := len(self._gathered) + len(self._under_way):
            logger.error("%d holds and ends are not written: the database did not answer", unwritten)
            self._cut_connection()
            await asyncio.sleep(RETRY_SECONDS / 2)  # the call under way fails of it, so that it need not be cancelled
        self._lane.cancel()
        await asyncio.wait([self._lane], timeout=1)
        await self._drop_connection()

    async def hold(self, hold: Hold) -> None:
        """Returns once the record is durable; BillingUnavailable after the deadline. Who leaves leaves a void."""
        waiter = self._hand_in(self._gathered.holds, hold)
        timer = asyncio.get_running_loop().call_later(self._hold_seconds, _expire, waiter)
        try:
            await waiter
        except BaseException:
            self._take_back(hold, waiter)
            raise
        finally:
            timer.cancel()

    async def settle(self, settlement: Settlement) -> bool:
        """Whether the end was durable within the deadline; where not, the lane goes on trying, the caller goes on."""
        waiter = self.settle_soon(settlement)
        await asyncio.wait([waiter], timeout=self._settle_seconds)
        return _is_fulfilled(waiter)

    def settle_soon(self, settlement: Settlement) -> Waiter:
        """Hands an end in without waiting for it. The first end handed in for a record is the one that counts."""
        for batch in (self._gathered, self._under_way):
            if settlement.id in batch.settlements:
                return batch.settlements[settlement.id][1]
        return self._hand_in(self._gathered.settlements, settlement)

    def _take_back(self, hold: Hold, waiter: Waiter) -> None:
        """It will never go upstream. Not sent, it is forgotten; under way, it is voided once that is known."""
        if _is_fulfilled(waiter):
            self._void(hold)
        else:
            self._gathered.holds.pop(hold.id, None)

    def _void(self, hold: Hold) -> None:
        self.settle_soon(void(hold.id, status=None, flags=("undispatched",)))

    def _hand_in(self, queue: dict[UUID, Any], item: Hold | Settlement) -> Waiter:
        waiter: Waiter = asyncio.get_running_loop().create_future()
        waiter.add_done_callback(_retrieved)
        queue[item.id] = (item, waiter)
        self._idle.clear()
        self._something.set()
        return waiter

    # The lane -----------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            await self._something.wait()
            await self._connect()
            self._under_way = self._gathered.take(LARGEST_BATCH)
            if self._under_way:
                await self._write(self._under_way)
                self._under_way = Batch()
            else:
                self._something.clear()
                self._idle.set()

    async def _connect(self) -> None:
        """Before anything is taken: what waits for a connection was not sent, and can be taken back without a trace."""
        while self._connection is None:
            try:
                self._connection = await psycopg.AsyncConnection.connect(
                    self._conninfo, autocommit=True, options=OPTIONS, application_name="tollgate metering",
                    connect_timeout=HANGING_SECONDS, keepalives_idle=30,
                )  # fmt: skip
            except Exception as error:
                logger.warning("metering: the database cannot be reached (%s)", type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)

    async def _write(self, batch: Batch) -> None:
        """Returns once it is known what became of each item."""
        while True:
            await self._connect()
            try:
                await self._execute(batch)
            except Exception as error:
                if _is_refusal(error):
                    await self._write_one_by_one(batch, error)
                    return
                logger.warning("metering: the database did not answer (%s)", type(error).__name__)
                await self._drop_connection()
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._written(batch)
                return

    async def _execute(self, batch: Batch) -> None:
        """One call. An await on psycopg is never cancelled: a server that hangs loses its connection."""
        assert self._connection is not None
        watchdog = asyncio.get_running_loop().call_later(HANGING_SECONDS, self._cut_connection)
        try:
            await self._connection.execute(*batch.call(), prepare=True)
        finally:
            watchdog.cancel()

    def _written(self, batch: Batch) -> None:
        for hold, waiter in batch.holds.values():
            if waiter.done():  # nobody waits any more: it was sent, so it is there
                self._void(hold)
            else:
                waiter.set_result(None)
        for _, waiter in batch.settlements.values():
            if not waiter.done():
                waiter.set_result(None)

    async def _write_one_by_one(self, batch: Batch, error: Exception) -> None:
        """One item that the database refuses must not keep its neighbours."""
        if len(batch) > 1:
            for single in batch.singles():
                await self._write(single)
            return
        for hold, waiter in batch.holds.values():
            logger.error("metering: the hold of record %s is refused: %s", hold.id, type(error).__name__)
            if not waiter.done():
                waiter.set_exception(BillingUnavailable("The record was refused."))
        for settlement, waiter in batch.settlements.values():
            logger.error("metering: the end of record %s is refused: %s", settlement.id, type(error).__name__)
            if settlement != refused(settlement.id):
                self._gathered.settlements[settlement.id] = (refused(settlement.id), waiter)

    def _cut_connection(self) -> None:
        """Ends the call under way as if the server had closed the connection."""
        if self._connection is not None and not self._connection.closed:
            with socket.socket(fileno=os.dup(self._connection.fileno())) as twin:
                twin.shutdown(socket.SHUT_RDWR)

    async def _drop_connection(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()


def _is_refusal(error: Exception) -> bool:
    """Whether the items are to blame, or we; where it is the database, or the way to it, the batch is repeated."""
    if isinstance(error, psycopg.Error):
        return (error.sqlstate or "").startswith(REFUSALS)
    return not isinstance(error, OSError)


def _is_fulfilled(waiter: Waiter) -> bool:
    return waiter.done() and not waiter.cancelled() and waiter.exception() is None


def _expire(waiter: Waiter) -> None:
    if not waiter.done():
        waiter.set_exception(BillingUnavailable("The hold was not durable in time."))


def _retrieved(waiter: Waiter) -> None:
    """Nobody may be left to look at a refusal; it was logged."""
    if not waiter.cancelled():
        waiter.exception()
