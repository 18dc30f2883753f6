"""Holds and ends that go to the database in one call (metering.sql), each with whoever waits for it."""

import asyncio
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import msgspec

from billing.record import Hold, Settlement

HOLD = "SELECT billing_hold(%s::json)"
SETTLE = "SELECT billing_settle(%s::json, %s, %s)"
BOTH = "SELECT billing_settle(%s::json, %s, %s), billing_hold(%s::json)"  # evaluated from left to right

Waiter = asyncio.Future[None]


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

    def call(self) -> tuple[str, list[Any]]:
        """The one statement that writes it all, and its parameters."""
        settle = self._settle_parameters() if self.settlements else []
        hold = [_json(item for item, _ in self.holds.values())] if self.holds else []
        return (BOTH if settle and hold else SETTLE if settle else HOLD), settle + hold

    def _settle_parameters(self) -> list[Any]:
        ids = sorted(self.settlements)
        return [_json(self.settlements[record_id][0] for record_id in ids), ids[0], ids[-1]]


def _json(items: Iterable[Hold | Settlement]) -> str:
    return msgspec.json.encode(list(items)).decode()
