"""What a process knows of its open requests, on its own disk: it outlives the process and an outage of the database.

    SpoolFailed    what was handed in is not kept (or, from `sync`, not on the disk for sure)

A spool belongs to one event loop. `append` is one write(): what it returned from survives SIGKILL of the process;
`sync` makes it survive the machine. Where the disk is full or ill the spool `is_failing`: nothing new is to be
admitted, and what room was kept is for the ends of what is open.
"""

import contextlib
import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from uuid import UUID

from billing.spool.disk import SpoolDisk, SpoolFailed
from billing.spool.folder import make_folder, remove_folder, sync_path
from billing.spool.format import Kind, encode, seed
from billing.spool.segment import Segment

__all__ = ["Kind", "Spool", "SpoolFailed", "is_progress_due"]

logger = logging.getLogger(__name__)

SEGMENT_BYTES = 16 << 20
MAX_BYTES = 1 << 30
PROGRESS_SECONDS = 1.0


def is_progress_due(last: float | None, now: float) -> bool:
    """Whether a stream is to leave a progress mark: at most one a second. Seconds of one monotonic clock."""
    return last is None or now - last >= PROGRESS_SECONDS


class _Request:
    """What is kept of an unfinished request, so that it can be written again: all but outdated progress marks."""

    __slots__ = ("first", "progress", "records")

    def __init__(self, first: Segment) -> None:
        self.first = first
        self.records: list[bytes] = []
        self.progress = b""

    def __iter__(self) -> Iterator[bytes]:
        yield from self.records
        if self.progress:
            yield self.progress


class Spool:
    """The spool of this process, in a folder of its own: SPOOL_DIR/<process id>."""

    def __init__(
        self, spool_dir: Path, process_id: UUID, *, segment_bytes: int = SEGMENT_BYTES, max_bytes: int = MAX_BYTES
    ) -> None:
        """`max_bytes` bounds the folder, allocated room included: at least two segments. SpoolFailed."""
        if max_bytes < 2 * segment_bytes:
            raise ValueError("A spool needs room for two segments.")
        self.folder = spool_dir / str(process_id)
        self._seed = seed(process_id)
        self._sequence = 0
        self._requests: dict[bytes, _Request] = {}
        self._is_closed = False
        try:
            self._lock = make_folder(self.folder)
        except OSError as error:
            raise SpoolFailed(str(error)) from error
        try:
            self._disk = SpoolDisk(self.folder, segment_bytes, max_bytes, self._relieve)
            sync_path(self.folder)
        except (SpoolFailed, OSError) as error:
            self._remove()
            raise SpoolFailed(str(error)) from error

    @property
    def is_failing(self) -> bool:
        """Nothing new may be admitted until `probe` has made it well again."""
        return self._disk.is_failing

    def append(self, kind: Kind, record_id: UUID, payload: bytes) -> None:
        """Kept when it returns. SpoolFailed: it is not."""
        key = record_id.bytes
        record = self._encode(kind, key, payload)
        self._write(record)
        self._remember(kind, key, record)

    def append_many(self, records: Iterable[tuple[Kind, UUID, bytes]]) -> None:
        """All in one write(), in this order. SpoolFailed: none is kept. ValueError: larger than a segment."""
        encoded = [
            (kind, key := record_id.bytes, self._encode(kind, key, payload)) for kind, record_id, payload in records
        ]
        self._write(b"".join([record for _, _, record in encoded]))
        for kind, key, record in encoded:
            self._remember(kind, key, record)

    def acknowledge(self, *record_ids: UUID) -> None:
        """These are settled: nobody needs their records. Never fails: a mark that is not kept is a replay in vain."""
        keys = [key for key in {record_id.bytes: None for record_id in record_ids} if key in self._requests]
        if self._is_closed or not keys:
            return
        try:
            self._write(b"".join([self._encode(Kind.ACKNOWLEDGED, key, b"") for key in keys]))
        except SpoolFailed as error:
            logger.warning("spool: %d acknowledgements are not kept: %s", len(keys), error)
        for key in keys:
            self._requests.pop(key).first.unfinished.discard(key)
        self._disk.delete_unneeded()

    async def sync(self) -> None:
        """Everything appended before the call is on disk. SpoolFailed: some may not be."""
        await self._disk.sync()

    async def probe(self) -> bool:
        """Tries to be well again: whether new requests can be admitted. To be called about once a second."""
        try:
            await self._disk.probe()
            if self._disk.lost:
                self._disk.next_segment()
                self._copy(list(self._requests))
                self._disk.lost = False
            await self._disk.sync()
        except SpoolFailed as error:
            logger.warning("spool: still failing: %s", error)
        return not self.is_failing

    async def close(self, *, keep: bool = False) -> None:
        """Removes the folder where nothing is unfinished, else leaves it, on disk, to whoever replays it. With `keep`
        it is left at any rate: that it is there says that the process is gone.
        """
        if self._is_closed:
            return
        if self._requests:
            try:
                await self._disk.sync()
            except SpoolFailed as error:
                logger.error("spool: %d requests are left behind: %s", len(self._requests), error)
        self._is_closed = True
        await self._disk.close()
        if self._requests or keep:
            os.close(self._lock)
        else:
            self._remove()

    def _encode(self, kind: Kind, key: bytes, payload: bytes) -> bytes:
        self._sequence += 1
        return encode(self._seed, self._sequence, kind, key, payload)

    def _remember(self, kind: Kind, key: bytes, record: bytes) -> None:
        """What was just written, to the current segment."""
        request = self._requests.get(key)
        if request is None:
            request = self._requests[key] = _Request(self._disk.current)
            request.first.unfinished.add(key)
        if kind is Kind.PROGRESS:
            request.progress = record
        else:
            request.records.append(record)

    def _write(self, data: bytes) -> None:
        if self._is_closed:
            raise SpoolFailed("the spool is closed")
        self._disk.write(data)

    def _remove(self) -> None:
        try:
            remove_folder(self.folder)
        except OSError as error:
            logger.error("spool: %s is left behind: %s", self.folder, error)
        os.close(self._lock)

    def _relieve(self) -> None:
        """A long stream must not keep all that came after it: what little is unfinished in the oldest segment moves."""
        oldest = self._disk.segments[0]
        if not self._disk.is_crowded or oldest is self._disk.current:
            return
        unfinished = sum(len(record) for key in oldest.unfinished for record in self._requests[key])
        if unfinished <= self._disk.segment_bytes // 4:
            with contextlib.suppress(SpoolFailed):  # what was not copied stays where it is
                self._copy(list(oldest.unfinished))

    def _copy(self, keys: list[bytes]) -> None:
        """Writes these requests again, whole; the segments before may go once that is on disk. SpoolFailed."""
        for key in keys:
            request = self._requests[key]
            before, request.first = request.first, self._copy_of(request)
            before.unfinished.discard(key)
            before.needed_until = self._disk.position
            request.first.unfinished.add(key)

    def _copy_of(self, request: _Request) -> Segment:
        """The segment where the copy begins."""
        segments = []
        for record in request:
            self._write(record)
            segments.append(self._disk.current)
        return segments[0]
