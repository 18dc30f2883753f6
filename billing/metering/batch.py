"""Holds and ends that go to the database in one call (billing/sql/batches.sql), each with whoever waits for it."""

import asyncio
from collections.abc import Container, Iterable
from typing import NamedTuple, TypeVar
from uuid import UUID

import msgspec

from billing.record import Hold, Progress, Settlement

T = TypeVar("T")
Waiter = asyncio.Future[None]
# What JSON cannot say, such as half a character, or lists in lists without end.
UNSAYABLE = (ValueError, TypeError, OverflowError, RecursionError)


class End(NamedTuple):
    """An end, whoever waits for it, and its hold as it was, should the database not have it; None: nobody knows."""

    settlement: Settlement
    waiter: Waiter
    hold: Hold | None


class Batch:
    """Items of one call, each with the future of whoever waits for it; and marks, for which nobody waits."""

    def __init__(self) -> None:
        self.ends: dict[UUID, End] = {}
        self.holds: dict[UUID, tuple[Hold, Waiter]] = {}
        self.marks: dict[UUID, Progress] = {}

    def __len__(self) -> int:
        return len(self.ends) + len(self.holds) + len(self.marks)

    def take(self, most: int) -> "Batch":
        """The oldest items, at most so many of each kind."""
        taken = Batch()
        taken.ends = _taken(self.ends, most)
        taken.holds = _taken(self.holds, most)
        taken.marks = _taken(self.marks, most)
        return taken

    def add(self, other: "Batch") -> None:
        """Items of a batch that was not carried out, but those that are here anew."""
        for name in ("ends", "holds", "marks"):
            setattr(self, name, getattr(other, name) | getattr(self, name))

    def without(self, organizations: Container[UUID]) -> tuple["Batch", "Batch"]:
        """All but the holds of these organizations, and these."""
        rest, apart = Batch(), Batch()
        rest.ends = self.ends
        for record_id, item in self.holds.items():
            batch = apart if item[0].organization_id in organizations else rest
            batch.holds[record_id] = item
        return rest, apart

    def singles(self) -> Iterable["Batch"]:
        for record_id, end in self.ends.items():
            single = Batch()
            single.ends[record_id] = end
            yield single
        for record_id, hold in self.holds.items():
            single = Batch()
            single.holds[record_id] = hold
            yield single

    def parameters(self, *, of_holds: bool = True) -> list[str]:
        """Of WRITE: the ends and, if asked for, the holds, both after their ids."""
        holds = [_array(self.holds), self.hold_items()] if of_holds else ["{}", "[]"]
        return [_array(self.ends), self.end_items(), *holds]

    def end_items(self, of: Iterable[UUID] | None = None) -> str:
        """The ends as JSON, in the order of their ids, which is the order of locks; all, or those of some ids."""
        ids = self.ends if of is None else of
        return _json(self.ends[record_id].settlement for record_id in sorted(ids))

    def hold_items(self) -> str:
        """The holds as JSON, in the order of their ids."""
        return items_of(hold for hold, _ in self.holds.values())

    def mark_items(self) -> str:
        return _json(self.marks[record_id] for record_id in sorted(self.marks))


def items_of(holds: Iterable[Hold]) -> str:
    """Holds as JSON, in the order of their ids."""
    return _json(sorted(holds, key=lambda hold: hold.id))


def _array(ids: Iterable[UUID]) -> str:
    """An array of ids as PostgreSQL reads it, in their order."""
    return f"{{{msgspec.json.encode(sorted(ids)).decode()[1:-1]}}}"


def _taken(items: dict[UUID, T], most: int) -> dict[UUID, T]:
    return {record_id: items.pop(record_id) for record_id in list(items)[:most]}


def _json(items: Iterable[Hold | Settlement | Progress]) -> str:
    return msgspec.json.encode(list(items)).decode()
