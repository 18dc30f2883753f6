"""How noisy the machine was while something was measured."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median

from bench import cpu
from bench.machine import Cores
from bench.setting import Setting

PAGE = bytes(8192)
FLUSHES = 40
IDLE, WAITING, STEAL = 3, 4, 7  # columns of proc_stat(5)
COUNTED = 8


class Noise:
    """What the machine did meanwhile, and a piece of work and a flush of the disk just before."""

    def __init__(self, setting: Setting) -> None:
        self._before = {"calibration_ms": cpu.calibration_ms(), "flush_ms": flush_ms(setting.load.folder)}
        self._watch = Watch(setting.cores)

    def beside(self, found: Mapping[str, float]) -> dict[str, float]:
        """The figures with the noise. CPU time of the gateway in steps of the calibration too: they compare better."""
        noisy = {**found, **self._before, **self._watch.noise()}
        if "gateway_cpu_ms" in found:
            noisy["gateway_loop_steps"] = found["gateway_cpu_ms"] / noisy["calibration_ms"] * cpu.CALIBRATION_STEPS
        return noisy


class Watch:
    """What took the cores since it was made."""

    def __init__(self, cores: Cores) -> None:
        self._cores = cores
        self._before = _ticks()
        self._ours = _ours_ms()

    def noise(self) -> dict[str, float]:
        """In percent of the time: how busy both cores were; of all cores, what strangers took, here and on the same
        hardware (steal).
        """
        spans = {core: [b - a for a, b in zip(self._before[core], now, strict=True)] for core, now in _ticks().items()}
        every = [sum(column) for column in zip(*spans.values(), strict=True)]
        whole = max(1, sum(every[:COUNTED]))
        ours = (_ours_ms() - self._ours) / cpu.TICK_MS
        return {
            "strangers_percent": max(0.0, _busy(every) - 100 * (ours + every[STEAL]) / whole),
            "steal_percent": 100 * every[STEAL] / whole,
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
    return 100 * (1 - (span[IDLE] + span[WAITING]) / max(1, sum(span[:COUNTED])))


def _ours_ms() -> float:
    """Of this process and all that it has started."""
    return cpu.spent_ms({"bench": os.getpid()})["bench"]
