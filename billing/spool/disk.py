"""The bytes of a spool on their way to the disk: which segment they go to, and how much is on the disk for sure.

The room of a segment is allocated one segment ahead, so that what is written finds room on a full disk. fdatasync is
the one thing that runs in a thread; all who wait for it share one run.
"""

import asyncio
import contextlib
import logging
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from billing.spool.folder import sync_path, try_disk
from billing.spool.segment import Segment

logger = logging.getLogger(__name__)


class SpoolFailed(Exception):
    """The disk did not take it, or there is no room."""


class SpoolDisk:
    """The segments of one folder, the oldest first, the current one last. One event loop calls it."""

    def __init__(self, folder: Path, segment_bytes: int, max_bytes: int, on_segment_left: Callable[[], None]) -> None:
        """`on_segment_left` is called when a segment was left, and flushed. SpoolFailed."""
        self.folder = folder
        self.segment_bytes = segment_bytes
        self.max_bytes = max_bytes
        self.segments: deque[Segment] = deque()
        self.position = 0  # bytes ever written
        self.lost = False  # fdatasync failed: what it was for may be gone, though a second one would succeed
        self._durable = 0  # how many of the bytes ever written are on disk
        self._refused = False  # a write failed: only a probe makes segments
        self._on_segment_left = on_segment_left
        self._left: list[Segment] = []  # no longer written, not yet on disk for sure
        self._numbers = 0
        self._spare: Segment | None = None
        self._flush: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, "spool")
        self.segments.append(self._allocate())
        try:
            self._spare = self._allocate()
        except SpoolFailed:
            self.current.close()
            raise

    @property
    def current(self) -> Segment:
        return self.segments[-1]

    @property
    def is_failing(self) -> bool:
        return self._spare is None or self.lost

    @property
    def is_crowded(self) -> bool:
        """More than half of the room is used."""
        return len(self.segments) * 2 * self.segment_bytes > self.max_bytes

    def write(self, data: bytes) -> None:
        """To the current segment, whichever that is afterwards. SpoolFailed: not written."""
        if len(data) > self.segment_bytes:
            raise ValueError("A write must fit in a segment.")
        if not self.current.has_room(len(data)):
            self.next_segment()
        try:
            self.current.write(data)
        except OSError as error:
            self._refuse(error)
            self.write(data)
        else:
            self.position += len(data)

    def next_segment(self) -> None:
        """Leaves the current segment. SpoolFailed: there is no other."""
        segment, self._spare = self._spare or self._allocate(), None
        self._left.append(self.current)
        self.segments.append(segment)
        if not self._refused:
            try:
                self._spare = self._allocate()
            except SpoolFailed as error:
                logger.error("spool: the last segment is in use: %s", error)
        self._flushing()

    def delete_unneeded(self) -> None:
        """From the oldest on, so that no record outlives its acknowledgement."""
        while (oldest := self.segments[0]) is not self.current:
            if oldest.unfinished or oldest.needed_until > self._durable:
                return
            self.segments.popleft()
            try:
                oldest.delete()
            except OSError as error:
                logger.error("spool: a segment could not be deleted: %s", error)

    def _allocate(self) -> Segment:
        """The next segment, empty. SpoolFailed."""
        if (len(self.segments) + 1) * self.segment_bytes > self.max_bytes:
            raise SpoolFailed(f"{self.folder} may not be larger than {self.max_bytes} bytes")
        try:
            segment = Segment(self.folder, self._numbers + 1, self.segment_bytes)
        except OSError as error:
            raise SpoolFailed(str(error)) from error
        self._numbers += 1
        return segment

    def _refuse(self, error: OSError) -> None:
        """After a failed write: on to the spare segment. SpoolFailed: there is none."""
        logger.error("spool: a write failed: %s", error)
        self._refused = True
        try:
            self.current.cut()
        except OSError as cut_error:
            logger.error("spool: a torn record could not be cut off: %s", cut_error)
        if self._spare is None:
            raise SpoolFailed(str(error)) from error
        self.next_segment()

    # To the disk --------------------------------------------------------------------------------------------------

    async def sync(self) -> None:
        """Everything written before the call is on disk. SpoolFailed: some may not be."""
        target = self.position
        while self._durable < target:
            if self.lost:
                raise SpoolFailed("the disk lost a write")
            await asyncio.shield(self._flushing())

    async def probe(self) -> None:
        """The disk takes a write, and there is a spare segment again. SpoolFailed, and nothing has changed."""
        try:
            await self._in_thread(try_disk, self.folder)
        except OSError as error:
            raise SpoolFailed(str(error)) from error
        await self._idle()
        if self._spare is None:
            self._spare = self._allocate()
        self._refused = False

    async def close(self) -> None:
        """Lets go of the files; what the thread has begun is waited for."""
        await self._idle()
        self._thread.shutdown()
        for segment in (*self._left, self.current):
            segment.close()
        if self._spare is not None:
            self._spare.close()
            with contextlib.suppress(OSError):  # empty
                self._spare.delete()

    def _flushing(self) -> asyncio.Task[None]:
        """The flush under way, or a new one."""
        if self._flush is None or self._flush.done():
            self._flush = asyncio.create_task(self._flush_all(), name="spool flush")
        return self._flush

    async def _idle(self) -> None:
        while self._flush is not None and not self._flush.done():
            await asyncio.shield(self._flush)

    async def _flush_all(self) -> None:
        await self._flush_once()
        while self._left or (self.segments[0].needed_until > self._durable and not self.lost):
            await self._flush_once()

    async def _flush_once(self) -> None:
        position, left = self.position, list(self._left)
        descriptors = [segment.descriptor for segment in (*left, self.current)]
        try:
            await self._in_thread(_write_through, descriptors, self.folder if left else None)
        except OSError as error:
            logger.error("spool: fdatasync failed, what was written may be lost: %s", error)
            self.lost = True
        if not self.lost:
            self._durable = position
        for segment in left:
            segment.close()
        del self._left[: len(left)]
        self.delete_unneeded()
        if left:
            self._on_segment_left()

    async def _in_thread(self, call: Callable[..., None], *arguments: object) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)


def _write_through(descriptors: list[int], folder: Path | None) -> None:
    """`folder`: it has new names, which must be there after a crash too."""
    for descriptor in descriptors:
        os.fdatasync(descriptor)
    if folder is not None:
        sync_path(folder)
