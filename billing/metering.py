"""hold -> settle | void: the only writer of usage records.

A process has one lane: one connection, and one call that carries what has gathered while the last one was under way,
settles first. No timer: at low load a batch of one leaves at once. Callers wait beside the lane and may leave; what
they handed in is written all the same, and what could not be written is tried again until it is.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import msgspec
import psycopg

from billing.record import Hold, Settlement, void

logger = logging.getLogger(__name__)

LARGEST_BATCH = 256
RETRY_SECONDS = 0.2
HANGING_SECONDS = 5
# Plans stay nested loops over the ids in their order: the order of locks depends on it.
OPTIONS = "-c plan_cache_mode=force_generic_plan " + " ".join(
    f"-c {name}=off" for name in ("enable_hashjoin", "enable_mergejoin", "enable_seqscan", "jit")
)
HOLD = "SELECT billing_hold(%s::json)"
SETTLE = "SELECT billing_settle(%s::json, %s, %s)"
BOTH = "SELECT billing_settle(%s::json, %s, %s), billing_hold(%s::json)"  # evaluated from left to right

Waiter = asyncio.Future[None]


class BillingUnavailable(Exception):
    """The hold was not durable in time: the request may not be admitted. Nothing is held for it."""


class Batch:
    """Items of one call, each with the future of whoever waits for it."""

    def __init__(self) -> None:
        self.settlements: dict[UUID, tuple[Settlement, Waiter]] = {}
        self.holds: dict[UUID, tuple[Hold, Waiter]] = {}

    def __len__(self) -> int:
        return len(self.settlements) + len(self.holds)

    def take(self, most: int) -> "Batch":
        """The oldest items, at most so many of each kind."""
        taken = Batch()
        for source, target in ((self.settlements, taken.settlements), (self.holds, taken.holds)):
            for record_id in list(source)[:most]:
                target[record_id] = source.pop(record_id)  # type: ignore[assignment]
        return taken

    def singles(self) -> Iterable["Batch"]:
        for record_id, settlement in self.settlements.items():
            single = Batch()
            single.settlements[record_id] = settlement
            yield single
        for record_id, hold in self.holds.items():
            single = Batch()
            single.holds[record_id] = hold
            yield single

    def waiters(self) -> list[Waiter]:
        return [waiter for _, waiter in (*self.settlements.values(), *self.holds.values())]

    def call(self) -> tuple[str, list[Any]]:
        """The one statement that writes it all, and its parameters."""
        settle = self._settle_parameters() if self.settlements else []
        hold = [_json(item for item, _ in self.holds.values())] if self.holds else []
        return (BOTH if settle and hold else SETTLE if settle else HOLD), settle + hold

    def _settle_parameters(self) -> list[Any]:
        ids = sorted(self.settlements)
        return [_json(self.settlements[record_id][0] for record_id in ids), ids[0], ids[-1]]


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
        unwritten = len(self._gathered.settlements) + len(self._under_way.settlements)
        if unwritten:
            logger.error("%d usage records are left pending: the database did not answer", unwritten)
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
            self._take_back(hold)
            raise
        finally:
            timer.cancel()

    async def settle(self, settlement: Settlement) -> bool:
        """Whether the end was durable within the deadline; where not, the lane goes on trying, the caller goes on."""
        waiter = self.settle_soon(settlement)
        await asyncio.wait([waiter], timeout=self._settle_seconds)
        return waiter.done() and not waiter.cancelled() and waiter.exception() is None

    def settle_soon(self, settlement: Settlement) -> Waiter:
        """Hands an end in without waiting for it. The first end handed in for a record is the one that counts."""
        for batch in (self._gathered, self._under_way):
            if settlement.id in batch.settlements:
                return batch.settlements[settlement.id][1]
        return self._hand_in(self._gathered.settlements, settlement)

    def _take_back(self, hold: Hold) -> None:
        """Its request will never go upstream: what was not sent is forgotten, what was is void."""
        if self._gathered.holds.pop(hold.id, None) is None:
            self.settle_soon(void(hold.id, status=None, flags=("undispatched",)))

    def _hand_in(self, queue: dict[UUID, Any], item: Hold | Settlement) -> Waiter:
        waiter: Waiter = asyncio.get_running_loop().create_future()
        waiter.add_done_callback(_retrieved)
        queue[item.id] = (item, waiter)
        self._idle.clear()
        self._something.set()
        return waiter

    async def _run(self) -> None:
        while True:
            await self._something.wait()
            self._under_way = self._gathered.take(LARGEST_BATCH)
            if not self._under_way:
                self._something.clear()
                self._idle.set()
                continue
            await self._write(self._under_way)
            self._under_way = Batch()

    async def _write(self, batch: Batch) -> None:
        try:
            await self._execute(*batch.call())
        except (psycopg.OperationalError, psycopg.InterfaceError, OSError) as error:
            logger.warning("metering: the database did not answer (%s)", type(error).__name__)
            await self._drop_connection()
            self._gather_again(batch)
            await asyncio.sleep(RETRY_SECONDS)
        except psycopg.Error as error:
            await self._write_one_by_one(batch, error)
        else:
            for waiter in batch.waiters():
                if not waiter.done():
                    waiter.set_result(None)

    async def _write_one_by_one(self, batch: Batch, error: psycopg.Error) -> None:
        """One item that the database refuses must not keep its neighbours."""
        if len(batch) > 1:
            for single in batch.singles():
                await self._write(single)
            return
        (waiter,) = batch.waiters()
        (record_id,) = batch.settlements or batch.holds
        logger.error("metering: record %s is refused by the database: %s", record_id, error.diag.message_primary)
        if not waiter.done():
            waiter.set_exception(BillingUnavailable("The record was refused."))

    def _gather_again(self, batch: Batch) -> None:
        """What was lost on the way goes first again; holds whose request has left do not."""
        holds = {record_id: held for record_id, held in batch.holds.items() if not held[1].done()}
        self._gathered.settlements = batch.settlements | self._gathered.settlements
        self._gathered.holds = holds | self._gathered.holds

    async def _execute(self, statement: str, parameters: Sequence[Any]) -> None:
        """Runs beside this task: an await on psycopg is never cancelled, a server that hangs loses its connection."""
        if self._connection is None:
            self._connection = await psycopg.AsyncConnection.connect(
                self._conninfo, autocommit=True, options=OPTIONS, application_name="tollgate metering",
                connect_timeout=HANGING_SECONDS,
            )  # fmt: skip
        call = asyncio.ensure_future(self._connection.execute(statement, parameters, prepare=True))
        done, _ = await asyncio.wait([call], timeout=HANGING_SECONDS)
        if not done:
            self._connection.pgconn.finish()
            call.cancel()
            raise psycopg.OperationalError("The database hangs.")
        call.result()

    async def _drop_connection(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()


def _json(items: Iterable[Hold | Settlement]) -> str:
    return msgspec.json.encode(list(items)).decode()


def _expire(waiter: Waiter) -> None:
    if not waiter.done():
        waiter.set_exception(BillingUnavailable("The hold was not durable in time."))


def _retrieved(waiter: Waiter) -> None:
    """Nobody may be left to look at a refusal; it was logged."""
    if not waiter.cancelled():
        waiter.exception()
