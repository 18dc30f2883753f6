"""Load on a target: requests from a process of its own, on the core that the gateway does not have."""

import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.pinned import on_core
from bench.target import Target

DRAIN_SECONDS = 90  # the load generator itself gives up a minute after its end
MODEL = "gpt-4.1-mini"  # one that all peers know
INPUT = "Tell me a three sentence bedtime story about a unicorn. " * 11  # bodies of about 750 bytes

Sent = dict[str, Any]  # what the load generator says: see lg.c


class Failed(Exception):
    """Requests went wrong, so the figures mean nothing."""


@dataclass(frozen=True, slots=True)
class Request:
    """One JSON answer, or a stream of `deltas` that come `pause_ms` apart, and that clients may leave early."""

    deltas: int = 0
    pause_ms: int = 0
    leave_after: int = 0  # deltas

    def body(self) -> str:
        # The mock finds in the input what to answer. Answers are stored, so whose they are is written down too.
        text = f"sse-{self.deltas}-{self.pause_ms} {INPUT}" if self.deltas else INPUT
        request = {"model": MODEL, "stream": self.deltas > 0, "input": text}
        return json.dumps(request, separators=(",", ":"))


class Load:
    def __init__(self, program: Path, core: int, folder: Path) -> None:
        self._program = program
        self._core = core
        self.folder = folder
        self.requests: Counter[str] = Counter()  # sent in all, by target

    def send(self, target: Target, request: Request, *, at_once: int, seconds: float, most: int = 0) -> Sent:
        """Closed loops for so many seconds, or until so many requests were sent. Raises Failed."""
        with self.sending(target, request, at_once=at_once, seconds=seconds, most=most) as process:
            return self.received(target, request, process, DRAIN_SECONDS + seconds)

    @contextmanager
    def sending(
        self, target: Target, request: Request, *, at_once: int, seconds: float, most: int = 0
    ) -> Iterator[subprocess.Popen[str]]:
        """The load generator while it runs."""
        body = self.folder / "request.body"
        body.write_text(request.body())
        words = ["-p", str(target.port), "-c", str(at_once), "-d", str(seconds), "-b", str(body)]
        words += ["-n", str(most)] if most else []
        words += ["-s"] if request.deltas else []
        words += ["-m"] if request.pause_ms else []
        words += ["-x", str(request.leave_after)] if request.leave_after else []
        words += [word for header in target.headers for word in ("-H", header)]
        argv = on_core(self._core, self.folder / "load.pid", [str(self._program), *words])
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                yield process
            finally:
                process.kill()

    def received(self, target: Target, request: Request, process: subprocess.Popen[str], seconds: float) -> Sent:
        """What came back. Raises Failed where it is not what was asked for."""
        try:
            said, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired as error:
            raise Failed(f"{target.name}: the load generator did not end in {seconds:.0f} s") from error
        if process.returncode:
            raise Failed(f"{target.name}: the load generator ended with {process.returncode} {errors.strip()}")
        sent: Sent = json.loads(said)
        self.requests[target.name] += sent["started"]
        wrong = sent["errs"] or sent["non200"] or sent["incomplete"] or not sent["started"]
        wrong = wrong or sent["n"] + sent["left"] != sent["started"]  # some had no answer after a minute
        if wrong or (sent["n"] and sent["deltas_per"] != request.deltas):
            raise Failed(f"{target.name}: {_complaint(sent, errors)}")
        return sent


def _complaint(sent: Sent, errors: str) -> str:
    counts = {
        "requests": sent["started"],
        "broken": sent["errs"],
        "without an answer": sent["started"] - sent["n"] - sent["left"],
        "not 200": sent["non200"],
        "streams without an end": sent["incomplete"],
        "deltas a stream": sent["deltas_per"],
    }
    lines = errors.strip().splitlines()
    first = f"; the first that was not 200: {lines[0]} {lines[-1][:200]}" if lines else ""
    return ", ".join(f"{count:g} {what}" for what, count in counts.items()) + first
