"""Kills what is left of our children's process groups after our own sudden death.

A child has its leash (leash.py), but a leash is not inherited: the pool and the beat of a killed Celery worker would
live on, and a child may take its time over the gentle signal. So one small process waits at the end of a pipe that
only we hold; the kernel closes it when we die, however we die.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable

GRACE_SECONDS = 3.0  # for the gentle signals of the leashes to do their work


class Undertaker:
    def __init__(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own words
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,  # Ctrl-C in the terminal is meant for us
        )

    def watch(self, group: int) -> None:
        self._tell(f"+{group}")

    def forget(self, group: int) -> None:
        """At once when a group has ended: its number may be given to strangers."""
        self._tell(f"-{group}")

    def dismiss(self) -> None:
        self._process.communicate()

    def _tell(self, line: str) -> None:
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # killed: the leashes still hold
                self._process.stdin.write(f"{line}\n".encode())
                self._process.stdin.flush()


def groups_at_the_end(lines: Iterable[str]) -> set[int]:
    """Reads until the pipe closes; a last line cut short by the death counts for nothing."""
    groups: set[int] = set()
    for line in lines:
        if line.endswith("\n"):
            (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    return groups


def signalled(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def main() -> None:
    groups = groups_at_the_end(sys.stdin)
    deadline = time.monotonic() + GRACE_SECONDS
    while time.monotonic() < deadline and any(signalled(group, 0) for group in groups):
        time.sleep(0.05)
    for group in groups:
        signalled(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
