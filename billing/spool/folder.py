"""The folders and files of spools: SPOOL_DIR/host, SPOOL_DIR/<process id>/lock, SPOOL_DIR/<process id>/00000001.spool.

A process owns its folder while it holds the flock on `lock`; process numbers are never asked. Between the making of a
folder and its lock the whole SPOOL_DIR is locked, so that a folder nobody holds is always one whose owner is gone.
All of it must lie on one host's local disk. A lock is shared with forked children: make a spool after forking.
Everything here raises OSError.
"""

import contextlib
import errno
import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

LOCK = "lock"
HOST = "host"
BOOT = Path("/proc/sys/kernel/random/boot_id")
PROBE_BYTES = 4096
PROCESS = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@contextlib.contextmanager
def _locked(spool_dir: Path, *, wait: bool) -> Iterator[None]:
    """Held for a few system calls only. BlockingIOError where another holds it and `wait` is false."""
    spool_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory = os.open(spool_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(directory)


def host_id(spool_dir: Path) -> UUID:
    """By what the host is known, whatever its name: made once, and kept where its spools are."""
    path = spool_dir / HOST
    with _locked(spool_dir, wait=True):
        if not path.exists():
            new = spool_dir / f"{HOST}.new"
            new.write_text(f"{uuid4()}\n")
            sync_path(new)
            new.rename(path)
            sync_path(spool_dir)
    return UUID(path.read_text().strip())


def make_folder(folder: Path) -> int:
    """Makes a process's folder and returns its lock, held: a file descriptor, which the caller closes. By which boot it
    was made is on the disk then.
    """
    with _locked(folder.parent, wait=True):
        folder.mkdir(mode=0o700)
        lock = _lock(folder)
    assert lock is not None  # nobody may look at it before
    try:
        os.write(lock, _boot())
        os.fsync(lock)
        sync_path(folder)
        sync_path(folder.parent)
    except OSError:
        os.close(lock)
        raise
    return lock


def is_of_this_boot(lock: int) -> bool:
    """Whether the machine has not failed since the folder was made: what was written, and not synced, is there. A lock
    without a boot is one that the machine's failure emptied, unless the system does not say its boot.
    """
    return os.pread(lock, 64, 0) == _boot()


def take_folder(folder: Path) -> int | None:
    """The lock of a folder whose owner is gone, held; None while it is held, or was removed meanwhile."""
    try:
        with _locked(folder.parent, wait=False):
            lock = _lock(folder)
    except (BlockingIOError, FileNotFoundError):
        return None
    if lock is not None and os.fstat(lock).st_nlink == 0:  # who held it has removed it
        os.close(lock)
        return None
    return lock


def remove_folder(folder: Path) -> None:
    """The oldest first: a death half-way leaves no record without the acknowledgement that came after it."""
    for path in segment_paths(folder):
        path.unlink()
    for path in sorted(folder.iterdir(), key=lambda path: path.name == LOCK):
        path.unlink()
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.ENOENT):
            raise  # else another took the empty folder meanwhile: it removes it, or has done so


def process_folders(spool_dir: Path) -> list[Path]:
    return sorted(path for path in spool_dir.glob("*") if PROCESS.fullmatch(path.name))


def segment_paths(folder: Path) -> list[Path]:
    """The oldest first."""
    return sorted(folder.glob("*.spool"))


def segment_path(folder: Path, number: int) -> Path:
    return folder / f"{number:08}.spool"


def sync_path(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def try_disk(folder: Path) -> None:
    """Writes a small file through to the disk."""
    path = folder / "probe"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        if os.write(descriptor, bytes(PROBE_BYTES)) < PROBE_BYTES:
            raise OSError(errno.ENOSPC, "short write", str(path))
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
        path.unlink()


def _boot() -> bytes:
    """Empty where the system does not say."""
    return BOOT.read_bytes().strip() if BOOT.exists() else b""


def _lock(folder: Path) -> int | None:
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock
