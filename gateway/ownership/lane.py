"""Items on their way into one statement of the database: what gathers while a call is under way goes in the next.

The statement takes a JSON array and answers with one in the same order. It is repeated until it is known what became of
it (billing/metering/connection.py), so it must be harmless to repeat.
"""

import asyncio
import logging
from collections import deque
from typing import Generic, Protocol, TypeVar
from uuid import UUID

import msgspec

from billing.metering.connection import Connection, Refused
from gateway.ownership.turns import Turns

logger = logging.getLogger(__name__)


class Sized(Protocol):
    """`is_large`: the database takes long over it; so those of one organization wait for those of others."""

    @property
    def is_large(self) -> bool: ...
    @property
    def organization_id(self) -> UUID | None: ...


Item = TypeVar("Item", bound=Sized)
Answer = TypeVar("Answer")
LARGEST_BATCH = 256
CUT_SECONDS = 0.1  # until a call whose connection was cut has failed


class Lane(Generic[Item, Answer]):
    """One statement, on a connection of its own. Who waits for an item may leave; it is carried out all the same."""

    def __init__(self, conninfo: str, name: str, statement: str, answer: type[Answer]) -> None:
        """`answer`: of one item."""
        self._name = name
        self._statement = statement
        self._decoder = msgspec.json.Decoder(list[answer])  # type: ignore[valid-type]
        self._connection = Connection(conninfo, name)
        self._gathered: deque[tuple[Item, asyncio.Future[Answer]]] = deque()
        self._large: Turns[tuple[Item, asyncio.Future[Answer]]] = Turns()  # one a batch: others wait for no more
        self._under_way = 0
        self._something = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"{self._name} lane")

    async def close(self, seconds: float) -> None:
        """Waits up to `seconds` until everything handed in is carried out."""
        if self._task is None:
            return
        idle = asyncio.ensure_future(self._idle.wait())
        await asyncio.wait([idle], timeout=seconds)
        idle.cancel()
        if left := len(self._gathered) + len(self._large) + self._under_way:
            logger.error("%s: %d items are left: the database did not answer", self._name, left)
            self._connection.cut()
            await asyncio.sleep(CUT_SECONDS)  # so that no call under way need be cancelled
        self._task.cancel()
        await asyncio.wait([self._task], timeout=1)
        await self._connection.close()

    def hand_in(self, item: Item) -> asyncio.Future[Answer]:
        """Done once it is known; Refused where the database will never take it."""
        waiter: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        waiter.add_done_callback(_retrieved)
        if item.is_large:
            self._large.append(item.organization_id, (item, waiter))
        else:
            self._gathered.append((item, waiter))
        self._idle.clear()
        self._something.set()
        return waiter

    async def _run(self) -> None:
        while True:
            await self._something.wait()
            await self._connection.open()
            await asyncio.sleep(0)  # what the loop has ready comes along
            batch = self._taken()
            self._under_way = len(batch)
            if batch:
                await self._carry_out(batch)
                self._under_way = 0
            elif not self._gathered and not self._large:
                self._something.clear()
                self._idle.set()

    def _taken(self) -> list[tuple[Item, asyncio.Future[Answer]]]:
        """The oldest items, and the large one whose turn it is; those that were given up are let go."""
        oldest = [self._gathered.popleft() for _ in range(min(LARGEST_BATCH, len(self._gathered)))]
        oldest += [self._large.popleft()] if self._large else []
        return [(item, waiter) for item, waiter in oldest if not waiter.cancelled()]

    async def _carry_out(self, batch: list[tuple[Item, asyncio.Future[Answer]]]) -> None:
        """One item that the database refuses must not keep its neighbours."""
        try:
            items = msgspec.json.encode([item for item, _ in batch]).decode()
            answers = self._decoder.decode(await self._connection.call(self._statement, [items]))
        except (Refused, ValueError) as error:
            if len(batch) > 1:
                for one in batch:
                    await self._carry_out([one])
                return
            logger.error("%s: an item is refused (%s)", self._name, error)
            if not batch[0][1].done():
                batch[0][1].set_exception(error)
            return
        for (_, waiter), answer in zip(batch, answers, strict=True):
            if not waiter.done():
                waiter.set_result(answer)


def _retrieved(waiter: asyncio.Future[Answer]) -> None:
    """Nobody may be left to look at a refusal; it was logged."""
    if not waiter.cancelled():
        waiter.exception()
