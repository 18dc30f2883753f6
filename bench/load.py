"""Load on the stand: rounds of each kind of request in turn, and what they cost."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.cpu import calibration_ms
from bench.programs import Programs
from bench.stand import Cores, Stand, on_core

CONCURRENCY = 64
WARM_UP_SECONDS = 1.0
DRAIN_SECONDS = 90  # the load generator itself gives up a minute after its end
INPUT = "Tell me a three sentence bedtime story about a unicorn. " * 11  # bodies of about 750 bytes


class Failed(Exception):
    """Requests went wrong, so the figures mean nothing."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of request, by the mock's model name; streamed ones end after that many deltas."""

    name: str
    model: str
    deltas: int = 0


KINDS = (Kind("JSON", "json"), Kind("SSE, 50 deltas", "sse-50-0", deltas=50))


@dataclass(frozen=True, slots=True)
class Round:
    requests: int
    requests_per_second: float
    cpu_ms: dict[str, float]  # a request, by part
    calibration_ms: float  # just before


@dataclass(slots=True)
class Figures:
    rounds: dict[str, list[Round]]  # by kind
    requests: int = 0  # sent in all, warm-up included


class Load:
    """Sends from a process of its own, on the core that the gateway does not have."""

    def __init__(self, stand: Stand, programs: Programs, cores: Cores, folder: Path) -> None:
        self._stand = stand
        self._program = programs.load
        self._core = cores.others
        self._folder = folder

    def measure(self, *, rounds: int, seconds: float) -> Figures:
        """Rounds of each kind in turn, so that the machine's moods meet all of them. Raises Failed."""
        figures = Figures(rounds={kind.name: [] for kind in KINDS})
        for kind in KINDS:
            figures.requests += self._round(kind, WARM_UP_SECONDS).requests
        for _ in range(rounds):
            for kind in KINDS:
                measured = self._round(kind, seconds)
                figures.rounds[kind.name].append(measured)
                figures.requests += measured.requests
        return figures

    def _round(self, kind: Kind, seconds: float) -> Round:
        calibration = calibration_ms()
        before = self._stand.spent_ms()
        sent = self._send(kind, seconds)
        after = self._stand.spent_ms()
        return Round(
            requests=sent["n"],
            requests_per_second=sent["rps"],
            cpu_ms={part: (after[part] - before[part]) / sent["n"] for part in after},
            calibration_ms=calibration,
        )

    def _send(self, kind: Kind, seconds: float) -> dict[str, Any]:
        body = self._folder / f"{kind.model}.body"
        # The mock gives every answer the same id, so nothing must be kept under it.
        request = {"model": kind.model, "stream": kind.deltas > 0, "store": False, "input": INPUT}
        body.write_text(json.dumps(request, separators=(",", ":")))
        words = ["-p", str(self._stand.port), "-c", str(CONCURRENCY), "-d", str(seconds), "-b", str(body)]
        words += ["-H", f"Authorization: Bearer {self._stand.key}", *(["-s"] if kind.deltas else [])]
        argv = on_core(self._core, self._folder / "load.pid", [str(self._program), *words])
        done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=seconds + DRAIN_SECONDS)
        sent: dict[str, Any] = json.loads(done.stdout)
        if not sent["n"] or sent["errs"] or sent["non200"] or sent["incomplete"] or sent["deltas_per"] != kind.deltas:
            raise Failed(f"{kind.name}: the load generator says {done.stdout.strip()} {done.stderr.strip()}")
        return sent


def refuse_unsettled(stand: Stand, requests: int) -> None:
    """Raises Failed unless every request has ended in one settled record."""
    states = stand.records()
    if states != {"settled": requests}:
        raise Failed(f"{requests} requests were sent, and the records of usage are {states}: all should be settled.")
