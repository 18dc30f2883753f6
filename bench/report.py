"""Figures, for people and for machines."""

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from bench import machine
from bench.cpu import CALIBRATION_STEPS
from bench.figures import Figures, Spread
from bench.goals import Goal, goals
from bench.machine import Cores
from bench.programs import FOLDER
from bench.shapes import SHAPES, Column, Shape
from bench.target import Target

NOISE = {
    "calibration_ms": f"CPU-ms of {CALIBRATION_STEPS:,} steps of a loop in pure Python",
    "flush_ms": "ms of a page written and flushed to the disk (fdatasync)",
    "strangers_percent": "% of the cores' time taken by programs that are not the bench's",
    "steal_percent": "% of the cores' time taken by other machines (steal)",
    "gateway_core_percent": "% that the gateway's core was busy",
    "other_core_percent": "% that the core of all else was busy",
}


@dataclass(frozen=True, slots=True)
class Report:
    """Of one repetition."""

    figures: Figures
    targets: Sequence[Target]
    absent: Mapping[str, str]
    cores: Cores
    seconds: float
    rounds: int

    def facts(self) -> dict[str, Any]:
        """One JSON object: where, when, and median, lowest and highest of each figure over the rounds."""
        return {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": _commit(),
            "machine": {"cores": os.cpu_count(), "model": machine.model(), "python": machine.python()},
            "pinned": asdict(self.cores),
            "seconds": self.seconds,
            "rounds": self.rounds,
            "targets": {target.name: target.about for target in self.targets},
            "absent": dict(self.absent),
            "noise": {name: asdict(spread) for name, spread in self._noise()},
            "shapes": {shape.name: self._shape(shape) for shape in SHAPES if shape.name in self.figures.rounds},
            "missing": self.figures.missing,
            "goals": [{**asdict(goal), "verdict": goal.verdict} for goal in goals(self.figures)],
        }

    def text(self) -> str:
        shapes = [self._table(shape) for shape in SHAPES if shape.name in self.figures.rounds]
        noise = [f"  {_shown(spread, '.2f'):26} {NOISE[name]}" for name, spread in self._noise()]
        return "\n\n".join(
            ["\n".join(self._head()), *shapes, "\n".join(["The machine meanwhile", *noise]), verdicts([self])]
        )

    def _head(self) -> Iterator[str]:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        yield f"{now}, commit {_commit()}, {os.cpu_count()} cores, {machine.model()}"
        yield (
            f"gateway on core {self.cores.gateway}, all else on core {self.cores.others}, a second gateway process on "
            f"core {self.cores.second}; median (lowest-highest) of {self.rounds} rounds of {self.seconds:g} s"
        )
        yield from (f"{target.name}: {target.about}" for target in self.targets if target.about)
        yield from (f"{name}: absent, {why}" for name, why in self.absent.items())

    def _table(self, shape: Shape) -> str:
        heads = [column.heading for column in shape.columns]
        rows = [
            [name, *(self._cell(shape, name, column) for column in shape.columns)]
            for name in self.figures.rounds[shape.name]
        ]
        failed = [f"  {why}" for why in self.figures.missing.get(shape.name, {}).values()]
        return "\n".join([shape.title, *_aligned([["", *heads], *rows]), *failed])

    def _cell(self, shape: Shape, target: str, column: Column) -> str:
        spread = self.figures.spread(shape.name, target, column.figure)
        return "-" if spread is None else _shown(spread, column.form)

    def _noise(self) -> Iterator[tuple[str, Spread]]:
        for name in NOISE:
            spread = self.figures.over_all(name)
            if spread is not None:
                yield name, spread

    def _shape(self, shape: Shape) -> dict[str, dict[str, dict[str, float]]]:
        return {
            target: {
                name: asdict(spread)
                for name in rounds[0]
                if (spread := self.figures.spread(shape.name, target, name)) is not None
            }
            for target, rounds in self.figures.rounds[shape.name].items()
        }


def verdicts(reports: Sequence[Report]) -> str:
    """Every goal with what each repetition measured."""
    rows = [
        [reached[0].title, *(_measured(goal) for goal in reached), _limit(reached[-1]), _together(reached)]
        for reached in zip(*(goals(report.figures) for report in reports), strict=True)
    ]
    runs = [f"run {number}" for number, _ in enumerate(reports, 1)] if len(reports) > 1 else ["measured"]
    return "\n".join(_aligned([["Goals", *runs, "goal", ""], *rows]))


def _measured(goal: Goal) -> str:
    return "-" if goal.measured is None else f"{goal.measured:,.3g} {goal.unit}".strip()


def _limit(goal: Goal) -> str:
    sign = ">=" if goal.more else "<="
    return "-" if goal.limit is None else f"{sign} {goal.limit:.3g} {goal.unit}".strip()


def _together(reached: Sequence[Goal]) -> str:
    verdicts = [goal.verdict for goal in reached]
    return verdicts[0] if len(set(verdicts)) == 1 else ", ".join(verdicts)


def _shown(spread: Spread, form: str) -> str:
    if spread.lowest == spread.highest:
        return f"{spread.median:{form}}"
    return f"{spread.median:{form}} ({spread.lowest:{form}}-{spread.highest:{form}})"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """The first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            [f"  {row[0]:{widths[0]}}", *(f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]


def _commit() -> str:
    """With a + where the tree differs from it."""
    words = ["git", "-C", str(FOLDER.parent), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
