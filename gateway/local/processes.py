"""Child processes: what to run (`Service`), and one that runs (`Process`). Every child dies with us."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal, Self

from gateway.local import leash

Account = Literal["own", "namespace", "nobody"]

POLL_SECONDS = 0.01
LOG_LIMIT_BYTES = 10_000_000
SHOWN_LINES = 15


class StartError(Exception):
    """A service could not be started. The message is for people: what happened, the end of the log, what to do."""


def nothing() -> None:
    """Stands for a step that a service does not have."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """How to run one program, start to end. `ready` is asked again and again until it says yes, from our thread."""

    name: str
    argv: Sequence[str]
    log: Path
    env: Mapping[str, str] = field(default_factory=dict)  # added to our own
    cwd: Path | None = None
    pass_fds: tuple[int, ...] = ()
    account: Account = "own"
    once: bool = False  # runs to its end; ready when that was a success
    before: Callable[[], None] = nothing  # each start
    ready: Callable[[], bool] = lambda: True
    ready_text: str = ""  # and this has appeared in the log since the start
    after: Callable[[], None] = nothing  # once it is stopped for good
    start_deadline: float = 60.0  # seconds
    stop_signal: signal.Signals = signal.SIGTERM
    stop_deadline: float = 10.0  # seconds, then SIGKILL
    orphan_signal: signal.Signals = signal.SIGTERM  # when we die without stopping it
    advice: str = ""  # what to do when it does not start


class Process:
    """A service that was started: the leader of a process group and session of its own.

    Start it from a thread that lives as long as it should: the kernel ties a child to the thread that made it.
    """

    def __init__(self, service: Service, popen: subprocess.Popen[bytes], log_offset: int) -> None:
        self.service = service
        self.pid = popen.pid
        self.started_at = time.monotonic()
        self._popen = popen
        self._log_offset = log_offset

    @classmethod
    def start(cls, service: Service) -> Self:
        service.before()
        service.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _opened_log(service.log) as log:
            popen = subprocess.Popen(  # noqa: S603 - a list of our own words, no shell
                leashed(service.argv, service.orphan_signal, service.account),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **service.env},
                cwd=service.cwd,
                pass_fds=service.pass_fds,
                start_new_session=True,
            )
            return cls(service, popen, log.tell())

    def exit_code(self) -> int | None:
        """None while it runs. A process that ended takes the rest of its group with it."""
        if self._popen.returncode is None:
            self._bury()
        return self._popen.returncode

    def is_ready(self) -> bool:
        """Raises StartError when it died or took too long."""
        code = self.exit_code()
        if code is not None:
            if self.service.once and code == 0:
                return True
            raise StartError(self.explained(f"did not start ({self.ending()})"))
        if self.seconds() > self.service.start_deadline:
            raise StartError(self.explained(f"was not ready after {self.service.start_deadline:g} s"))
        return not self.service.once and self.service.ready() and self.service.ready_text in self.output()

    def seconds(self) -> float:
        return time.monotonic() - self.started_at

    def output(self) -> str:
        """What the log says since the start."""
        with self.service.log.open("rb") as log:
            log.seek(self._log_offset)
            return log.read().decode(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        if self.exit_code() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        if self.exit_code() is None:
            os.killpg(self.pid, signal.SIGKILL)

    def ending(self) -> str:
        code = self.exit_code()
        return f"killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit status {code}"

    def explained(self, what: str) -> str:
        """`what` as a message for people, with the end of the log and the service's advice."""
        said = "\n".join(f"  | {line}" for line in self.output().splitlines()[-SHOWN_LINES:])
        log = f"It said ({self.service.log}):\n{said}" if said else f"It said nothing ({self.service.log})."
        return f"{self.service.name} {what}. {log}\n{self.service.advice}".rstrip()

    def _bury(self) -> None:
        # Killing the group before reaping its leader: until then its number cannot be anyone else's.
        if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            os.killpg(self.pid, signal.SIGKILL)
            self._popen.wait()


def leashed(argv: Sequence[str], orphan_signal: signal.Signals, account: Account) -> list[str]:
    """The command line that runs `argv` on a leash held by this thread."""
    return [sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), str(int(orphan_signal)), account, *argv]


def wait_ready(processes: Iterable[Process], check: Callable[[], None] = nothing) -> None:
    """Returns when all are ready. `check` is called meanwhile and may raise. Raises StartError."""
    waiting = list(processes)
    while waiting := [process for process in waiting if not process.is_ready()]:
        check()
        time.sleep(POLL_SECONDS)


def stop(processes: Iterable[Process], hurried: Callable[[], bool] = lambda: False) -> None:
    """Stops all at the same time; kills what outlives its deadline, or everything once `hurried`."""
    waiting = list(processes)
    began = time.monotonic()
    for process in waiting:
        process.signal(process.service.stop_signal)
    while waiting := [process for process in waiting if process.exit_code() is None]:
        spent = time.monotonic() - began
        for process in waiting:
            if hurried() or spent > process.service.stop_deadline:
                process.kill()
        time.sleep(POLL_SECONDS)


def _opened_log(path: Path) -> BinaryIO:
    """Open for appending; a log grown large is moved aside first, over the one before."""
    if path.exists() and path.stat().st_size > LOG_LIMIT_BYTES:
        path.replace(path.with_name(f"{path.name}.1"))
    log = path.open("ab")
    path.chmod(0o600)
    return log
