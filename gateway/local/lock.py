"""One instance a folder: a lock that the kernel drops when the last process that holds it is gone."""

import fcntl
import os
import time
from pathlib import Path

from gateway.local.processes import StartError

WAIT_SECONDS = 15.0  # for servers whose owner was killed to come to their end
POLL_SECONDS = 0.02


class Lock:
    """flock(2) on a file that holds its owner's process number.

    The servers inherit the descriptor, so the lock outlives an owner that was killed for just as long as any process
    of theirs does: whoever gets it knows that nothing works on the data any more.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._held = False

    @property
    def descriptor(self) -> int:
        """To be handed down to the servers; the lock need not be held yet."""
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return self._descriptor

    def take(self) -> bool:
        """Was it free? False when it is ours already. Raises StartError, at once when the owner lives."""
        if self._held:
            return False
        deadline = time.monotonic() + WAIT_SECONDS
        while not _locked(self.descriptor):
            owner = os.pread(self.descriptor, 20, 0).decode().strip()
            if _alive(owner) or time.monotonic() > deadline:
                raise StartError(
                    f"Another Tollgate (process {owner or 'unknown'}) already runs on {self._path.parent}. "
                    "Stop it, or set TOLLGATE_VAR to another folder."
                )
            time.sleep(POLL_SECONDS)
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, f"{os.getpid()}\n".encode(), 0)
        self._held = True
        return True

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None
        self._held = False


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _alive(owner: str) -> bool:
    return owner.isdecimal() and Path("/proc", owner).exists()
