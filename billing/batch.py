"""Holds and ends that go to the database in one call (metering.sql), each with whoever waits for it."""

import asyncio
from collections.abc import Iterable
from typing import TypeVar
from uuid import UUID

import msgspec

from billing.record import Hold, Progress, Settlement

T = TypeVar("T")
Waiter = asyncio.Future[None]


class Batch:
    """Items of one call, each with the future of whoever waits for it; and marks, for which nobody waits."""

    def __init__(self) -> None:
        self.settlements: dict[UUID, tuple[Settlement, Waiter]] = {}
        self.holds: dict[UUID, tuple[Hold, Waiter]] = {}
        self.marks: dict[UUID, Progress] = {}

    def __len__(self) -> int:
        return len(self.settlements) + len(self.holds) + len(self.marks)

    def take(self, most: int) -> "Batch":
        """The oldest items, at most so many of each kind."""
        taken = Batch()
        taken.settlements = _taken(self.settlements, most)
        taken.holds = _taken(self.holds, most)
        taken.marks = _taken(self.marks, most)
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

    def ends(self, of: Iterable[UUID] | None = None) -> str:
        """The ends as JSON, in the order of their ids, which is the order of locks; all, or those of some ids."""
        ids = self.settlements if of is None else of
        return _json(self.settlements[record_id][0] for record_id in sorted(ids))

    def hold_items(self) -> str:
        """The holds as JSON, in the order of their ids."""
        return _json(self.holds[record_id][0] for record_id in sorted(self.holds))

    def mark_items(self) -> str:
        return _json(self.marks[record_id] for record_id in sorted(self.marks))


def _taken(items: dict[UUID, T], most: int) -> dict[UUID, T]:
    return {record_id: items.pop(record_id) for record_id in list(items)[:most]}


def _json(items: Iterable[Hold | Settlement | Progress]) -> str:
    return msgspec.json.encode(list(items)).decode()
