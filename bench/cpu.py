"""CPU time of processes from /proc/PID/stat (proc_pid_stat(5)), and a fixed piece of work to hold it against."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")
CALIBRATION_STEPS = 500_000


def spent_ms(numbers: Mapping[str, int]) -> dict[str, float]:
    """User and system time so far of each process and all that descend from it, the ended ones included.

    Exact to one tick (10 ms) a process. A process that is gone has spent 0.
    """
    children, ticks = _processes()
    spent = {name: sum(ticks.get(one, 0) for one in _tree(number, children)) for name, number in numbers.items()}
    return {name: found * TICK_MS for name, found in spent.items()}


def family(number: int) -> list[int]:
    """The process and all that descend from it."""
    return list(_tree(number, _processes()[0]))


def calibration_ms() -> float:
    """CPU time of a fixed loop in pure Python: where it differs between two runs, so does all that they measured."""
    began = time.process_time()
    total = 0
    for number in range(CALIBRATION_STEPS):
        total += number * number % 7
    return (time.process_time() - began) * 1000


def _processes() -> tuple[dict[int, list[int]], dict[int, int]]:
    """Children by parent, and ticks spent, of every process."""
    children: dict[int, list[int]] = {}
    ticks: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile; then its parent has its ticks
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            number = int(folder.name)
            children.setdefault(int(fields[1]), []).append(number)
            ticks[number] = sum(map(int, fields[11:15]))  # utime, stime, and those of children waited for
    return children, ticks


def _tree(root: int, children: Mapping[int, list[int]]) -> Iterator[int]:
    yield root
    for child in children.get(root, []):
        yield from _tree(child, children)
