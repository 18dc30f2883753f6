"""CPU time of processes from /proc/PID/stat (proc_pid_stat(5)), and a fixed piece of work to hold it against."""

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")
CALIBRATION_STEPS = 500_000


def spent_ms(numbers: Mapping[str, int]) -> dict[str, float]:
    """User and system time so far of each process and all that descend from it, the ended ones included.

    Exact to one tick (10 ms) a process. A process that is gone has spent 0.
    """
    children: dict[int, list[int]] = {}
    ticks: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile; then its parent has its ticks
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            number = int(folder.name)
            children.setdefault(int(fields[1]), []).append(number)
            ticks[number] = sum(map(int, fields[11:15]))  # utime, stime, and those of children waited for
    return {name: _of_tree(number, children, ticks) * TICK_MS for name, number in numbers.items()}


def calibration_ms() -> float:
    """CPU time of a fixed loop in pure Python: where it differs between two runs, so does all that they measured."""
    began = time.process_time()
    total = 0
    for number in range(CALIBRATION_STEPS):
        total += number * number % 7
    return (time.process_time() - began) * 1000


def _of_tree(root: int, children: Mapping[int, list[int]], ticks: Mapping[int, int]) -> int:
    return ticks.get(root, 0) + sum(_of_tree(child, children, ticks) for child in children.get(root, []))
