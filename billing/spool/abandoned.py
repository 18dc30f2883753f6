"""The spools of processes that are gone: found, taken by one process at a time, read back, removed."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from uuid import UUID

from billing.spool.folder import (
    is_of_this_boot,
    process_folders,
    remove_folder,
    segment_path,
    segment_paths,
    take_folder,
)
from billing.spool.format import Damage, Entry, Kind, check_version, encode, read, seed

logger = logging.getLogger(__name__)


class Requests(dict[UUID, list[Entry]]):
    """What is unfinished. `is_whole`: what is not here was never written."""

    is_whole = True


def abandoned(spool_dir: Path) -> list[Path]:
    """The folders that nobody holds. Another may take one before you do."""
    folders = []
    for folder in process_folders(spool_dir):
        if orphan := take(folder):
            orphan.release()
            folders.append(folder)
    return folders


def take(folder: Path) -> "Abandoned | None":
    """The folder, held until it is released; None where its owner lives or another has it. OSError."""
    lock = take_folder(folder)
    return None if lock is None else Abandoned(folder, lock)


def unfinished(folder: Path) -> Requests:
    """The requests that are not acknowledged, each with its records in the order they were written.

    Of a request's progress marks only the newest counts. What cannot be read is logged: a torn end as a warning, a
    ruined record among whole ones as an error. OSError where a segment cannot be read at all, UnknownVersion where it
    is in another version of the format: nothing is left out.
    """
    found: dict[UUID, dict[int, Entry]] = {}
    is_whole = True
    for entry in _entries(folder):
        if isinstance(entry, Damage):
            is_whole = False
        elif entry.kind is Kind.ACKNOWLEDGED:
            found.pop(entry.record_id, None)
        else:
            found.setdefault(entry.record_id, {})[entry.sequence] = entry  # a copy is the same record
    requests = Requests({record_id: _in_order(entries) for record_id, entries in found.items()})
    requests.is_whole = is_whole
    return requests


def _entries(folder: Path) -> Iterator[Entry | Damage]:
    for path in segment_paths(folder):
        segment = path.read_bytes()
        check_version(segment)
        for item in read(segment, seed(UUID(folder.name))):
            if isinstance(item, Damage):
                level, what = (logging.WARNING, "end is torn") if item.torn else (logging.ERROR, "records are ruined")
                logger.log(level, "spool: %s: %s, %d bytes from %d", path, what, item.length, item.offset)
            yield item


def _in_order(entries: dict[int, Entry]) -> list[Entry]:
    newest = max((number for number, entry in entries.items() if entry.kind is Kind.PROGRESS), default=-1)
    return [entries[n] for n in sorted(entries) if n == newest or entries[n].kind is not Kind.PROGRESS]


class Abandoned:
    """A dead process's spool, held by this one. As a context manager it is released at the end, removed or not."""

    def __init__(self, folder: Path, lock: int) -> None:
        self.folder = folder
        self.process_id = UUID(folder.name)
        self._lock = lock
        self._acknowledgements: int | None = None

    def __enter__(self) -> "Abandoned":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()

    def entries(self) -> Requests:
        """As `unfinished`; not whole either where the machine failed, which may have lost what was not synced."""
        requests = unfinished(self.folder)
        requests.is_whole = requests.is_whole and is_of_this_boot(self._lock)
        return requests

    def acknowledge(self, record_id: UUID) -> None:
        """Whoever takes the folder next does not see the request again. Not kept on a full disk: a replay in vain."""
        record = encode(seed(self.process_id), 0, Kind.ACKNOWLEDGED, record_id.bytes, b"")
        try:
            os.write(self._new_segment(), record)
        except OSError as error:
            logger.warning("spool: %s: an acknowledgement could not be written (%s)", self.folder, error)

    def remove(self) -> None:
        """Deletes the folder: everything in it is settled. OSError leaves what could not be deleted for the next."""
        remove_folder(self.folder)

    def release(self) -> None:
        if self._acknowledgements is not None:
            os.close(self._acknowledgements)
            self._acknowledgements = None
        os.close(self._lock)

    def _new_segment(self) -> int:
        """After all that is there: the last segment may end in a torn record."""
        if self._acknowledgements is None:
            number = max((int(path.stem) for path in segment_paths(self.folder)), default=0) + 1
            path = segment_path(self.folder, number)
            self._acknowledgements = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        return self._acknowledgements
