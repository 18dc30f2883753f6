"""What a shape of load is measured with."""

from dataclasses import dataclass

from bench.load import Load
from bench.machine import Cores
from bench.target import Target


@dataclass(frozen=True, slots=True)
class Setting:
    load: Load
    upstream: Target
    cores: Cores
    seconds: float  # of each round


class Cost:
    """CPU time of a target since it was made."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._before = target.spent_ms()

    def each(self, count: int) -> dict[str, float]:
        """By part and in all, for one of so many."""
        found = {f"{part}_cpu_ms": (now - self._before[part]) / count for part, now in self._target.spent_ms().items()}
        return {**found, "all_cpu_ms": sum(found.values())}
