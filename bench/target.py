"""What is measured: the gateway, or another program in its place."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import cpu


@dataclass(frozen=True, slots=True)
class Target:
    """A program that answers POST /v1/responses on a port of this machine."""

    name: str  # as in figures
    port: int
    parts: Mapping[str, tuple[int, ...]]  # numbers of processes whose CPU time counts, with all their children
    headers: tuple[str, ...] = ()
    about: str = ""  # version, and what is not obvious

    def spent_ms(self) -> dict[str, float]:
        """CPU time so far, by part."""
        spent = cpu.spent_ms({str(number): number for numbers in self.parts.values() for number in numbers})
        return {part: sum(spent[str(number)] for number in numbers) for part, numbers in self.parts.items()}

    def memory_mb(self) -> float:
        """What the gateway's processes hold and share with no file: RssAnon of proc_pid_status(5)."""
        return self._sum("RssAnon") / 1024

    def threads(self) -> int:
        return self._sum("Threads")

    def _sum(self, field: str) -> int:
        return sum(_status(one, field) for number in self.parts["gateway"] for one in cpu.family(number))


def _status(number: int, field: str) -> int:
    """0 where it has ended."""
    try:
        lines = Path(f"/proc/{number}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), 0)
