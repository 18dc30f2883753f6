"""Items that wait for their turn: whoever has many waits behind them, not before who has one. Pure."""

from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Turns(Generic[Item]):
    """One item of each in turn, the oldest first."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, deque[Item]] = {}  # in the order in which their turns come

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def append(self, whose: Hashable, item: Item) -> None:
        self._waiting.setdefault(whose, deque()).append(item)

    def popleft(self) -> Item:
        whose = next(iter(self._waiting))
        items = self._waiting.pop(whose)
        item = items.popleft()
        if items:
            self._waiting[whose] = items
        return item
