"""The machine: what it is, and how noisy it was while something was measured.

Run by path in another Python it says which one that is, so it knows the standard library alone.
"""

import os
import platform
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Self

PAGE = bytes(8192)
FLUSHES = 40


@dataclass(frozen=True, slots=True)
class Cores:
    """Numbers as for taskset. A machine of two has the second gateway process where all else is; of one, all there."""

    gateway: int
    others: int
    second: int

    @classmethod
    def of_this_machine(cls) -> Self:
        usable = sorted(os.sched_getaffinity(0))
        others = usable[min(1, len(usable) - 1)]
        return cls(gateway=usable[0], others=others, second=usable[2] if len(usable) > 2 else others)


class Watch:
    """How busy the cores have been since it was made, and what other machines on the same hardware took."""

    def __init__(self, cores: Cores) -> None:
        self._cores = cores
        self._before = _ticks()

    def noise(self) -> dict[str, float]:
        """In percent of the time: both cores, and steal of all cores."""
        spans = {core: [b - a for a, b in zip(self._before[core], now, strict=True)] for core, now in _ticks().items()}
        whole = [sum(column) for column in zip(*spans.values(), strict=True)]
        return {
            "steal_percent": 100 * whole[7] / max(1, sum(whole[:8])),
            "gateway_core_percent": _busy(spans[self._cores.gateway]),
            "other_core_percent": _busy(spans[self._cores.others]),
        }


def flush_ms(folder: Path) -> float:
    """Median of a page written and flushed (fdatasync), in a file that is there already, as a server's log is."""
    file = os.open(folder / "flushes", os.O_RDWR | os.O_CREAT)
    try:
        os.write(file, PAGE)
        os.fsync(file)
        return median(_flush_ms(file) for _ in range(FLUSHES))
    finally:
        os.close(file)


def python() -> str:
    """Which Python this is. One that was built without profile-guided optimization (pyenv's default) takes about 1.6
    times the CPU time. Debian's says so by an emptied flag alone.
    """
    options = str(sysconfig.get_config_var("CONFIG_ARGS"))
    guided = "--enable-optimizations" in options or sysconfig.get_config_var("PGO_PROF_USE_FLAG") == ""
    return f"Python {platform.python_version()} ({'with' if guided else 'without'} profile-guided optimization)"


def model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _flush_ms(file: int) -> float:
    began = time.perf_counter()
    os.pwrite(file, PAGE, 0)
    os.fdatasync(file)
    return (time.perf_counter() - began) * 1000


def _ticks() -> dict[int, list[int]]:
    """By core: user, nice, system, idle, iowait, irq, softirq, steal, ... of proc_stat(5)."""
    lines = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
    return {int(words[0][3:]): [int(word) for word in words[1:]] for words in lines if words[0][3:].isdigit()}


def _busy(span: list[int]) -> float:
    idle = span[3] + span[4]
    return 100 * (1 - idle / max(1, sum(span[:8])))


if __name__ == "__main__":
    print(python())
