"""Figures: what one round has measured, and what all rounds say together."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median

Round = Mapping[str, float]  # by name, the unit at its end; `all_ms` and the like are CPU time


@dataclass(frozen=True, slots=True)
class Spread:
    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        found = [round(value, 4) for value in values]
        return cls(median=round(median(found), 4), lowest=min(found), highest=max(found))


@dataclass(slots=True)
class Figures:
    """Of one repetition: the rounds of each shape and target, and why there are none of some."""

    rounds: dict[str, dict[str, list[Round]]] = field(default_factory=dict)  # by shape, by target
    missing: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(self, shape: str, target: str, found: Round) -> None:
        self.rounds.setdefault(shape, {}).setdefault(target, []).append(found)

    def miss(self, shape: str, target: str, why: str) -> None:
        self.missing.setdefault(shape, {})[target] = why
        self.rounds.get(shape, {}).pop(target, None)

    def spread(self, shape: str, target: str, name: str) -> Spread | None:
        """None where it was not measured."""
        values = [found[name] for found in self.rounds.get(shape, {}).get(target, ()) if name in found]
        return Spread.of(values) if values else None

    def names(self, shape: str, target: str) -> list[str]:
        return list(self.rounds[shape][target][0])

    def over_all(self, name: str) -> Spread | None:
        """Of a figure that every round has, whatever it measured."""
        targets = [rounds for shape in self.rounds.values() for rounds in shape.values()]
        values = [found[name] for rounds in targets for found in rounds if name in found]
        return Spread.of(values) if values else None
