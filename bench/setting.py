"""What a shape of load is measured with."""

from collections.abc import Mapping
from dataclasses import dataclass

from bench import cpu
from bench.load import Load
from bench.machine import Cores, Watch, flush_ms
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
