"""Spools whose owner is gone: taken by one process at a time, read back, removed."""

import asyncio
import contextlib
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

from billing.spool.abandoned import abandoned, take
from billing.spool.folder import host_id
from billing.spool.writer import Kind, Spool
from tests.billing.spool.reading import (
    REQUESTS,
    ROOT,
    fill,
    found,
    segments,
    started,
)

REPLAYER = """
import sys
from pathlib import Path
from billing.spool.abandoned import abandoned, take

print("ready", flush=True)
sys.stdin.readline()
while folders := list(Path(sys.argv[1]).iterdir()):
    for folder in folders:
        if orphan := take(folder):
            with orphan:
                for record_id in orphan.entries():
                    print(record_id.int, flush=True)
                    orphan.acknowledge(record_id)
                orphan.remove()
"""


def test_two_replayers_never_replay_the_same_spool(tmp_path):
    count = 60

    async def die():
        for n in range(1, count + 1):
            spool = Spool(tmp_path, uuid4(), segment_bytes=4096)
            spool.append(Kind.FINAL, UUID(int=n), b"")
            await spool.close()

    asyncio.run(die())
    with contextlib.ExitStack() as stack:
        command = [sys.executable, "-c", REPLAYER, str(tmp_path)]
        children = [
            stack.enter_context(subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            for _ in range(2)
        ]
        for child in children:
            assert child.stdout.readline() == b"ready\n"
        for child in children:
            child.stdin.write(b"go\n")
            child.stdin.flush()
        replayed = [[int(line) for line in child.stdout] for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert sorted(replayed[0] + replayed[1]) == list(range(1, count + 1))
    assert list(tmp_path.iterdir()) == []


THIEF = """
import sys
from pathlib import Path
from billing.spool.abandoned import abandoned, take

print("ready", flush=True)
while not Path(sys.argv[1], "stop").exists():
    for folder in abandoned(Path(sys.argv[1])):
        if orphan := take(folder):
            print("took", flush=True)
            with orphan:
                orphan.remove()
"""


async def test_a_spool_that_is_just_being_made_or_removed_is_not_taken(tmp_path):
    with started(THIEF, tmp_path) as thief:
        assert thief.stdout.readline() == b"ready\n"
        for _ in range(100):
            spool = Spool(tmp_path, uuid4(), segment_bytes=4096)
            spool.append(Kind.DISPATCHED, REQUESTS[0], b"")
            assert (spool.folder / "lock").exists()
            assert set(found(spool.folder)) == {REQUESTS[0]}
            spool.acknowledge(REQUESTS[0])
            await spool.close()
        (tmp_path / "stop").touch()
        assert thief.stderr.read() == b""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stop"]


def test_a_folder_whose_owner_died_before_it_had_the_lock_is_taken_and_removed(tmp_path):
    for name in ("without a lock", "locked once"):
        folder = tmp_path / str(uuid4())
        folder.mkdir()
        if name == "locked once":
            (folder / "lock").touch()
    for folder in abandoned(tmp_path):
        with take(folder) as orphan:
            assert orphan.entries() == {}
            orphan.remove()
    assert list(tmp_path.iterdir()) == []


async def test_a_living_owner_keeps_its_spool_and_a_taken_one_has_one_holder(tmp_path, spool):
    fill(spool, REQUESTS[0])
    assert abandoned(tmp_path) == []
    assert take(spool.folder) is None
    await spool.close()
    with take(spool.folder) as orphan:
        assert orphan.process_id == UUID(spool.folder.name)
        assert take(spool.folder) is None
    assert abandoned(tmp_path) == [spool.folder]
    assert take(tmp_path / str(uuid4())) is None


async def test_a_replay_that_dies_half_way_is_not_begun_anew(spool):
    for request in REQUESTS:
        fill(spool, request)
    await spool.close()
    with (spool.folder / segments(spool.folder)[-1]).open("ab") as file:
        file.write(b"torn")
    with take(spool.folder) as orphan:
        orphan.acknowledge(REQUESTS[0])
        orphan.acknowledge(REQUESTS[3])
        assert set(orphan.entries()) == {*REQUESTS} - {REQUESTS[0], REQUESTS[3]}
    with take(spool.folder) as orphan:
        orphan.acknowledge(REQUESTS[1])
    assert set(found(spool.folder)) == {REQUESTS[2], REQUESTS[4], REQUESTS[5]}


def test_a_host_has_one_id_whoever_asks_first(tmp_path):
    together = threading.Barrier(4)

    def ask(spool_dir):
        together.wait()
        return host_id(spool_dir)

    with ThreadPoolExecutor(4) as pool:
        for host in range(50):
            spool_dir = tmp_path / str(host)
            assert set(pool.map(ask, [spool_dir] * 4)) == {host_id(spool_dir)}
            assert [path.name for path in spool_dir.iterdir()] == ["host"]
    assert spool_dir.stat().st_mode & 0o777 == 0o700
    assert abandoned(spool_dir) == []
