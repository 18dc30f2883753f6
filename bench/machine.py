"""The machine: what it is.

Run by path in another Python it says which one that is, so it knows the standard library alone.
"""

import os
import platform
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Self


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


def python() -> str:
    """Which Python this is. One that was built without profile-guided optimization (pyenv's default) takes a
    good deal more CPU time. Debian's says so by an emptied flag alone.
    """
    options = str(sysconfig.get_config_var("CONFIG_ARGS"))
    guided = "--enable-optimizations" in options or sysconfig.get_config_var("PGO_PROF_USE_FLAG") == ""
    return f"Python {platform.python_version()} ({'with' if guided else 'without'} profile-guided optimization)"


def model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    print(python())
