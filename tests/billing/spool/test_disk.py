"""To the disk: shared flushes, lost writes, and a full disk that has room for the ends."""

import asyncio
import contextlib
import errno
import logging
import os
import threading
from uuid import UUID, uuid4

import pytest

from billing.spool import abandoned as abandoned_spool
from billing.spool import folder as folder_module
from billing.spool.folder import BOOT, is_of_this_boot, make_folder
from billing.spool.writer import Kind, Spool, SpoolFailed
from tests.billing.spool.reading import (
    REQUESTS,
    fill,
    found,
    segments,
    started,
    used,
)


async def test_by_which_boot_a_spool_was_made_outlives_a_power_cut(tmp_path, monkeypatch):
    synced, fsync = [], os.fsync

    def observed(descriptor):
        status = os.fstat(descriptor)
        synced.append((status.st_ino, status.st_size))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", observed)
    folder = tmp_path / str(uuid4())
    lock = make_folder(folder)
    os.close(lock)
    written = (folder / "lock").stat()
    assert synced.index((written.st_ino, len(BOOT.read_bytes().strip()))) >= 0
    assert [path.stat().st_ino in dict(synced) for path in (folder, tmp_path)] == [True, True]


def test_a_lock_that_came_out_of_a_power_cut_empty_is_of_another_boot(tmp_path, monkeypatch):
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    try:
        assert not is_of_this_boot(lock)
        monkeypatch.setattr(folder_module, "BOOT", tmp_path / "nothing")
        assert is_of_this_boot(lock)
    finally:
        os.close(lock)


async def test_all_who_wait_share_one_flush(spool, flushes):
    async def end(n):
        spool.append(Kind.FINAL, UUID(int=n + 1), b"")
        await spool.sync()

    await asyncio.gather(*(end(n) for n in range(40)))
    assert len(flushes) <= 2


async def test_nothing_to_sync_is_no_flush(spool, flushes):
    fill(spool, REQUESTS[0])
    await spool.sync()
    await spool.sync()
    assert len(flushes) == 1


async def test_a_sync_covers_the_segments_left_before(spool, flushes, monkeypatch):
    fill(spool, REQUESTS[0], 10)
    inodes = {(spool.folder / name).stat().st_ino for name, length in used(spool.folder).items() if length}
    assert len(inodes) == 4
    with monkeypatch.context() as patch:
        folders, fsync = [], os.fsync
        patch.setattr(os, "fsync", lambda descriptor: (folders.append(os.fstat(descriptor).st_ino), fsync(descriptor)))
        await spool.sync()
    assert set(flushes) == inodes
    assert folders == [spool.folder.stat().st_ino]  # the names of the new ones


async def test_a_flush_that_began_before_is_not_enough(spool, monkeypatch):
    begun, go, fdatasync, count = threading.Event(), threading.Event(), os.fdatasync, []

    def held(descriptor):
        begun.set()
        go.wait()
        fdatasync(descriptor)
        count.append(descriptor)

    monkeypatch.setattr(os, "fdatasync", held)
    fill(spool, REQUESTS[0])
    first = asyncio.create_task(spool.sync())
    await asyncio.to_thread(begun.wait)
    fill(spool, REQUESTS[1])
    second = asyncio.create_task(spool.sync())
    abandoned_by_its_caller = asyncio.create_task(spool.sync())
    await asyncio.sleep(0)
    abandoned_by_its_caller.cancel()
    go.set()
    second.add_done_callback(lambda _: count.append("second"))
    await asyncio.gather(first, second)
    assert len(count) == 3
    assert count[2] == "second"


async def test_a_disk_that_lost_a_write_fails_all_who_wait_until_what_is_unfinished_was_written_anew(
    tmp_path, spool, monkeypatch
):
    def broken(descriptor):
        raise OSError(errno.EIO, "Input/output error")

    fill(spool, REQUESTS[0])
    fill(spool, REQUESTS[1])
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", broken)
        ends = await asyncio.gather(*(spool.sync() for _ in range(3)), return_exceptions=True)
        assert [type(end) for end in ends] == [SpoolFailed] * 3
        assert not await spool.probe()
    assert spool.is_failing
    with pytest.raises(SpoolFailed):
        await spool.sync()  # the system says that all is well now: it has forgotten
    spool.append(Kind.FINAL, REQUESTS[0], b"goes on")
    expected = found(spool.folder)
    assert await spool.probe()
    assert not spool.is_failing
    assert "00000001.spool" not in segments(spool.folder)
    assert found(spool.folder) == expected
    assert len(expected[REQUESTS[0]]) == 2


async def test_a_spool_stays_within_its_bound_and_keeps_a_segment_for_the_ends(spool):
    n = 0
    while not spool.is_failing:
        n += 1
        fill(spool, UUID(int=n))
    await spool.sync()
    assert sum(path.stat().st_size for path in spool.folder.glob("*.spool")) <= 8 * 4096
    for end in range(1, 31):
        spool.append(Kind.FINAL, UUID(int=end), b"x" * 40)
    await spool.sync()
    with pytest.raises(SpoolFailed):
        fill(spool, UUID(int=n), 10)
    assert not await spool.probe()
    kept = found(spool.folder)
    assert [Kind.FINAL in dict(kept[UUID(int=end)]) for end in range(1, n)] == [end <= 30 for end in range(1, n)]
    spool.acknowledge(*(UUID(int=end) for end in range(1, n + 1)))
    assert await spool.probe()
    fill(spool, REQUESTS[0], 3)


async def test_on_a_full_disk_the_ends_of_what_is_open_are_kept(tiny_disk):
    spool = Spool(tiny_disk, uuid4(), segment_bytes=1 << 17)
    with (tiny_disk / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while filler.write(bytes(4096)):
            pass
    n = 0
    while not spool.is_failing:
        n += 1
        fill(spool, UUID(int=n))
    assert n > 100
    for end in range(1, n):
        spool.append(Kind.FINAL, UUID(int=end), b"x" * 300)
        await spool.sync()
    assert not await spool.probe()
    with pytest.raises(SpoolFailed):
        fill(spool, UUID(int=n), 200)
    kept = found(spool.folder)
    assert all(kept[UUID(int=end)][-1] == (Kind.FINAL, b"x" * 300) for end in range(1, n))
    spool.acknowledge(*(UUID(int=end) for end in range(1, n)))
    (tiny_disk / "filler").unlink()
    assert await spool.probe()
    fill(spool, REQUESTS[0], 200)
    spool.acknowledge(UUID(int=n), REQUESTS[0])
    await spool.close()


def test_a_disk_without_room_for_a_spool_leaves_no_folder(tiny_disk):
    with pytest.raises(SpoolFailed):
        Spool(tiny_disk, uuid4(), segment_bytes=600_000)
    assert list(tiny_disk.iterdir()) == []


REFUSED = """
import asyncio, resource, sys
from pathlib import Path
from uuid import UUID
from billing.spool.writer import Kind, Spool, SpoolFailed

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

async def main():
    spool = Spool(Path(sys.argv[1]), UUID(int=1), segment_bytes=1 << 16)
    limit(10_000)  # a write that crosses it is done in part, one after it fails
    n = 0
    try:
        while True:
            spool.append_many([(Kind.FINAL, UUID(int=n), b"x" * 500), (Kind.OWNER, UUID(int=n), b"y" * 500)])
            n += 1
            print(n, spool.is_failing)
    except SpoolFailed:
        print("failed", spool.is_failing, await spool.probe())
    limit(resource.RLIM_INFINITY)
    print("well", await spool.probe(), spool.is_failing)
    spool.append_many([(Kind.FINAL, UUID(int=n), b"x" * 500), (Kind.OWNER, UUID(int=n), b"y" * 500)])
    await spool.sync()

asyncio.run(main())
"""


def test_a_refused_write_goes_to_the_spare_segment_and_leaves_no_torn_record(tmp_path, caplog):
    with started(REFUSED, tmp_path) as child:
        lines = child.stdout.read().decode().splitlines()
    assert lines[8:10] == ["9 False", "10 True"]  # the tenth crossed the limit: kept, and told
    assert lines[-3:] == ["18 True", "failed True False", "well True False"]
    with caplog.at_level(logging.WARNING, abandoned_spool.__name__):
        kept = found(tmp_path / str(UUID(int=1)))
    assert kept == {UUID(int=n): [(Kind.FINAL, b"x" * 500), (Kind.OWNER, b"y" * 500)] for n in range(19)}
    assert caplog.records == []


async def test_a_record_larger_than_a_segment_is_refused_and_nothing_else_happens(spool):
    with pytest.raises(ValueError, match="fit in a segment"):
        spool.append(Kind.FINAL, REQUESTS[0], b"x" * 5000)
    assert not spool.is_failing
    assert found(spool.folder) == {}
    with pytest.raises(ValueError, match="two segments"):
        Spool(spool.folder.parent, uuid4(), segment_bytes=4096, max_bytes=8191)
