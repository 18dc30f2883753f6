"""A segment file while it is written."""

import errno
import os
from pathlib import Path

from billing import faults
from billing.spool.folder import segment_path


class Segment:
    """A file whose room is allocated when it is made: what is written within it finds room on a full disk too.

    `unfinished`: the requests whose oldest record lies here. `needed_until`: the position (bytes ever written to the
    spool) that must be on disk before the file may go, because what it held was copied there.
    """

    def __init__(self, folder: Path, number: int, size: int) -> None:
        """Allocates `size` bytes. OSError leaves nothing behind."""
        self.number = number
        self.size = size
        self.length = 0
        self.unfinished: set[bytes] = set()
        self.needed_until = 0
        self._path = segment_path(folder, number)
        self.descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.posix_fallocate(self.descriptor, 0, size)
        except OSError:
            self.close()
            self.delete()
            raise

    def has_room(self, size: int) -> bool:
        return self.length + size <= self.size

    def write(self, data: bytes) -> None:
        """One write(): there for every reader when it returns, whatever becomes of this process. Else OSError."""
        faults.reach("spool.write")
        if os.pwrite(self.descriptor, data, self.length) < len(data):
            raise OSError(errno.ENOSPC, "short write", str(self._path))
        self.length += len(data)

    def cut(self) -> None:
        """Takes away what a failed write may have left. Its allocated room goes with it."""
        os.ftruncate(self.descriptor, self.length)

    def close(self) -> None:
        os.close(self.descriptor)

    def delete(self) -> None:
        self._path.unlink()
