"""Starts services in order, starts again what dies, stops them in reverse order.

    with Supervisor([[postgres], [valkey], [migrate], [worker], gateways], progress=print) as supervisor:
        supervisor.run_until_stopped()

To be used from the main thread: it takes over SIGTERM, SIGINT and SIGHUP, and children are tied to the thread that
starts them.
"""

import contextlib
import logging
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import FrameType, TracebackType
from typing import Any, Self

from gateway.local import processes
from gateway.local.processes import Process, Service
from gateway.local.undertaker import Undertaker

Handler = Callable[[int, FrameType | None], Any] | int | None

logger = logging.getLogger(__name__)

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
MINUTE_SECONDS = 60.0
RESTART_PAUSES = (0.1, 0.5, 1.0, 2.0, 4.0)  # seconds before each within a minute; what it needs may be down as well
WATCH_SECONDS = 0.1


class GaveUp(Exception):
    """A service died too often. The message is for people, like that of StartError."""


class Interrupted(SystemExit):
    """A stop signal arrived before `run_until_stopped`. Exit status 128 + signal."""


@dataclass(slots=True)
class Watched:
    """A service and the process that runs it now; none while it waits for its restart."""

    service: Service
    process: Process
    restart_at: float | None = None
    restarts: list[float] = field(default_factory=list)  # within the last minute


class Supervisor:
    def __init__(
        self,
        stages: Sequence[Sequence[Service]],
        *,
        listeners: Sequence[socket.socket] = (),
        progress: Callable[[str], None] = logger.info,
    ) -> None:
        """The services of a stage start and stop together, a stage after the one before.

        `listeners` are sockets that services inherit (`pass_fds`). They outlive restarts and are shut down, for all who
        share them, when stopping begins: new clients are refused and do not queue where nobody accepts any more.
        """
        self._stages = stages
        self._listeners = listeners
        self._progress = progress
        self._running: list[list[Watched]] = []
        self._undertaker: Undertaker | None = None
        self._handlers: dict[signal.Signals, Handler] = {}
        self._signals = 0
        self._last_signal = 0
        self._raising = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Returns when all are ready. Raises StartError or Interrupted, with everything stopped again."""
        heard = [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]  # nohup
        self._handlers = {number: signal.signal(number, self._note) for number in heard}
        self._undertaker = Undertaker()
        try:
            for stage in self._stages:
                self._start_stage(stage)
            self._raising = True
            self._refuse_when_signalled()
        except BaseException:
            self.stop()
            raise

    def run_until_stopped(self) -> None:
        """Returns after the first stop signal. Raises GaveUp or StartError. Either way `stop` is still to be called."""
        self._raising = False
        self._progress("all is up; Ctrl-C stops it in order")
        while not self._signals:
            for stage in self._running:
                for watched in stage:
                    self._tend(watched)
            time.sleep(WATCH_SECONDS)

    def stop(self) -> None:
        """Stops what runs, last stage first. A second signal kills what is left. Does nothing when nothing runs."""
        self._raising = False
        for listener in self._listeners:
            with contextlib.suppress(OSError):  # closed by an earlier call
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        while self._running:
            self._stop_stage(self._running.pop())
        if self._undertaker is not None:
            self._undertaker.dismiss()
            self._undertaker = None
        while self._handlers:
            signal.signal(*self._handlers.popitem())

    def _start_stage(self, stage: Sequence[Service]) -> None:
        began = time.monotonic()
        running: list[Watched] = []
        self._running.append(running)
        for service in stage:
            running.append(Watched(service, self._started(service)))  # noqa: PERF401 - each counts as soon as it runs
        processes.wait_ready([watched.process for watched in running], check=self._refuse_when_signalled)
        for service in stage:
            self._progress(f"{service.name}: {'done' if service.once else 'ready'} in {_since(began)}")

    def _stop_stage(self, stage: list[Watched]) -> None:
        began = time.monotonic()
        processes.stop([watched.process for watched in stage], hurried=lambda: self._signals > 1)
        for watched in stage:
            self._forget(watched)
            watched.service.after()
            if not watched.service.once:
                self._progress(f"{watched.service.name}: stopped in {_since(began)}")

    def _started(self, service: Service) -> Process:
        try:
            process = Process.start(service)
        except BaseException:
            service.after()
            raise
        if self._undertaker is not None:
            self._undertaker.watch(process.pid)
        return process

    def _tend(self, watched: Watched) -> None:
        if watched.restart_at is not None:
            if time.monotonic() >= watched.restart_at:
                watched.process, watched.restart_at = self._started(watched.service), None
        elif not watched.service.once and watched.process.exit_code() is not None:
            self._forget(watched)
            self._plan_restart(watched)

    def _plan_restart(self, watched: Watched) -> None:
        now = time.monotonic()
        watched.restarts = [at for at in watched.restarts if now - at < MINUTE_SECONDS]
        if len(watched.restarts) >= len(RESTART_PAUSES):
            raise GaveUp(watched.process.explained(f"died {len(RESTART_PAUSES) + 1} times within a minute"))
        watched.restart_at = now + RESTART_PAUSES[len(watched.restarts)]
        watched.restarts.append(now)
        self._progress(f"{watched.service.name}: died ({watched.process.ending()}), starting it again")

    def _forget(self, watched: Watched) -> None:
        if self._undertaker is not None:
            self._undertaker.forget(watched.process.pid)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._signals += 1
        self._last_signal = number
        if self._raising:
            self._refuse_when_signalled()

    def _refuse_when_signalled(self) -> None:
        if self._signals:
            self._raising = False
            raise Interrupted(128 + self._last_signal)


def _since(began: float) -> str:
    return f"{time.monotonic() - began:.1f} s"
