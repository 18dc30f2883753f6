"""The spool: what was appended is there, whoever dies; what was not is not; a full disk has room for the ends."""

import asyncio
import contextlib
import errno
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.spool import abandoned as abandoned_spool
from billing.spool import format as spool_format
from billing.spool.abandoned import abandoned, take, unfinished
from billing.spool.folder import host_id
from billing.spool.format import Damage
from billing.spool.writer import Kind, Spool, SpoolFailed, is_progress_due

ROOT = Path(__file__).parents[2]
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # many examples, many flushes
OURS, THEIRS = UUID(int=1 << 100 | 7), UUID(int=1 << 90 | 9)
SEED, THEIR_SEED = spool_format.seed(OURS), spool_format.seed(THEIRS)
REQUESTS = [UUID(int=number << 64 | 0xFF) for number in range(1, 7)]
OPEN_KINDS = [kind for kind in Kind if kind is not Kind.ACKNOWLEDGED]


@pytest.fixture
async def spool(tmp_path):
    spool = Spool(tmp_path, uuid4(), segment_bytes=4096, max_bytes=8 * 4096)
    yield spool
    await spool.close()


@pytest.fixture
def flushes(monkeypatch):
    """The inodes that went to the disk, one fdatasync after the other."""
    seen, fdatasync = [], os.fdatasync

    def observed(descriptor):
        seen.append(os.fstat(descriptor).st_ino)
        fdatasync(descriptor)

    monkeypatch.setattr(os, "fdatasync", observed)
    return seen


def found(folder):
    """What another process reads back: request -> [(kind, payload)]."""
    return {
        record_id: [(entry.kind, entry.payload) for entry in entries]
        for record_id, entries in unfinished(folder).items()
    }


def segments(folder):
    return sorted(path.name for path in folder.glob("*.spool"))


def fill(spool, record_id, count=1, size=1000):
    for _ in range(count):
        spool.append(Kind.OPENED, record_id, b"x" * size)


def complaints(caplog, level):
    return [record.getMessage() for record in caplog.records if record.levelno == level]


# The bytes ----------------------------------------------------------------------------------------------------------

payloads = st.one_of(
    st.binary(max_size=40),
    st.just(spool_format.MAGIC * 3),
    # A payload that looks like a record: of another spool, for ours starts its CRCs from a random id.
    st.binary(max_size=9).map(lambda inner: spool_format.encode(THEIR_SEED, 1, Kind.FINAL, b"#" * 16, inner)),
)


@given(data=st.data(), texts=st.lists(payloads, min_size=1, max_size=8))
def test_whatever_is_ruined_all_other_records_are_read_and_the_damage_is_told(data, texts):
    records = [spool_format.encode(SEED, n, Kind.OPENED, bytes(16), text) for n, text in enumerate(texts)]
    whole = b"".join(records)
    begin = data.draw(st.integers(0, len(whole) - 1))
    ruin = data.draw(st.one_of(st.binary(min_size=1, max_size=60), st.just(b"\0" * 50), payloads.filter(bool)))
    ruined = bytearray(whole)
    ruined[begin : begin + len(ruin)] = ruin[: len(whole) - begin]

    items = list(spool_format.read(bytes(ruined), SEED))

    edges = [sum(len(record) for record in records[:n]) for n in range(len(records) + 1)]
    kept = [n for n in range(len(records)) if ruined[edges[n] : edges[n + 1]] == records[n]]
    assert [(item.sequence, item.payload) for item in items if not isinstance(item, Damage)] == [
        (n, texts[n]) for n in kept
    ]
    for n in set(range(len(records))) - set(kept):
        gone = any(ruined[edges[n] :]) and not any(edges[n] < edges[k + 1] for k in kept)
        told = [
            item for item in items if isinstance(item, Damage) and item.offset <= edges[n] < item.offset + item.length
        ]
        assert told or not gone or not any(ruined[edges[n] : edges[n + 1]])  # zeros at the end were never written


def test_a_ruined_record_among_whole_ones_is_an_error_a_torn_end_a_warning(tmp_path, caplog):
    folder = tmp_path / str(OURS)
    folder.mkdir()
    one, two, three = (spool_format.encode(SEED, n, Kind.FINAL, REQUESTS[n].bytes, b"usage") for n in range(3))
    (folder / "00000001.spool").write_bytes(one + two.replace(b"usage", b"usagf") + three + three[:-1])
    with caplog.at_level(logging.WARNING, abandoned_spool.__name__):
        assert set(found(folder)) == {REQUESTS[0], REQUESTS[2]}
    assert complaints(caplog, logging.ERROR) == [
        f"spool: {folder}/00000001.spool: records are ruined, {len(two)} bytes from {len(one)}"
    ]
    assert complaints(caplog, logging.WARNING) == [
        f"spool: {folder}/00000001.spool: end is torn, {len(three) - 1} bytes from {3 * len(one)}"
    ]


def test_a_record_of_another_spool_is_none(tmp_path):
    folder = tmp_path / str(OURS)
    folder.mkdir()
    theirs = spool_format.encode(THEIR_SEED, 1, Kind.FINAL, REQUESTS[0].bytes, b"")
    (folder / "00000001.spool").write_bytes(theirs)
    assert found(folder) == {}


# Any history against a plain model ----------------------------------------------------------------------------------

records = st.tuples(
    st.sampled_from(OPEN_KINDS), st.sampled_from(REQUESTS), st.binary(max_size=120).map(lambda b: b + b".")
)
steps = st.one_of(
    st.lists(records, min_size=1, max_size=3),
    st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=3, unique=True).map(tuple),
    st.just("sync"),
)
# Others come and go, so that little is unfinished in many segments.
busy = st.just([[(Kind.FINAL, UUID(int=0xFF), b"x" * 500)], (UUID(int=0xFF),)] * 6)
histories = st.lists(
    st.one_of(steps.map(lambda step: [step]), steps.map(lambda step: [step, "sync"]), busy), max_size=30
).map(lambda runs: [step for run in runs for step in run])


def applied(model, step):
    """The model after a step: request -> records, in the order of their writing."""
    model = {request: list(entries) for request, entries in model.items()}
    if isinstance(step, tuple):
        for request in step:
            model.pop(request, None)
    elif isinstance(step, list):
        for kind, request, payload in step:
            model.setdefault(request, []).append((kind, payload))
    return model


def without_outdated_progress(model):
    def newest(entries):
        last = max((n for n, (kind, _) in enumerate(entries) if kind is Kind.PROGRESS), default=None)
        return [entry for n, entry in enumerate(entries) if entry[0] is not Kind.PROGRESS or n == last]

    return {request: newest(entries) for request, entries in model.items()}


def used(folder):
    """How far each segment is written: no record here ends in a zero."""
    return {path.name: len(path.read_bytes().rstrip(b"\0")) for path in sorted(folder.glob("*.spool"))}


async def history(spool, todo):
    """Carries out the steps; after each: (what is unfinished, how far the segments are written)."""
    states = [({}, used(spool.folder))]
    for step in todo:
        if step == "sync":
            await spool.sync()
        elif isinstance(step, tuple):
            spool.acknowledge(*step)
        else:
            spool.append_many(step)
        states.append((applied(states[-1][0], step), used(spool.folder)))
    return states


@settings(max_examples=60, deadline=None)
@given(data=st.data(), todo=histories, garbage=st.binary(max_size=60))
def test_after_a_crash_at_any_byte_what_was_written_before_is_read_and_nothing_else(data, todo, garbage):
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:

        async def crash():
            spool = Spool(Path(name), OURS, segment_bytes=600, max_bytes=600 * 50)
            states = await history(spool, todo)
            crashed = Path(shutil.copytree(spool.folder, Path(name, "crashed", str(OURS))))
            await spool.close()
            return states, crashed

        states, crashed = asyncio.run(crash())
        last = max((segment for segment, length in states[-1][1].items() if length), default="00000001.spool")
        # What a deleted segment held is settled, or on disk further on: no crash takes that.
        safe = [n for n in range(1, len(states)) if set(states[n - 1][1]) - set(states[n][1])]
        least = states[safe[-1]][1].get(last, 0) if safe else 0
        cut = data.draw(st.integers(least, states[-1][1][last]))
        with (crashed / last).open("r+b") as file:
            file.truncate(cut)
            file.seek(cut)
            file.write(garbage)

        whole = max(n for n, (_, lengths) in enumerate(states) if lengths.get(last, 0) <= cut)
        torn = todo[whole] if whole < len(todo) else []  # its write() did not return: any part of it may be there
        allowed = [applied(states[whole][0], torn[:n]) for n in range(len(torn) + 1 if torn != "sync" else 1)]
        assert found(crashed) in [without_outdated_progress(model) for model in allowed]
        assert whole < len(todo) or found(crashed) == without_outdated_progress(states[-1][0])


class Power:
    """Looks at a folder whenever something goes to the disk, and knows what a power cut would leave of it."""

    def __init__(self, folder):
        self.folder = folder
        self.looks = []  # what would be read if the process were killed in the middle of each flush
        self._durable = {}  # path -> the bytes that are on disk
        self._fdatasync = os.fdatasync

    def fdatasync(self, descriptor):
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        self.looks.append(found(self.folder))
        written = path.read_bytes()
        self._fdatasync(descriptor)
        self._durable[path] = written

    def left(self):
        with tempfile.TemporaryDirectory(dir=MEMORY) as name:
            folder = Path(name, self.folder.name)
            folder.mkdir()
            for path in self.folder.glob("*.spool"):
                (folder / path.name).write_bytes(self._durable.get(path, b""))
            return found(folder)


def marks(entries):
    return [entry for entry in entries if entry[0] is not Kind.PROGRESS]


@settings(max_examples=15, deadline=None)
@given(todo=st.lists(steps, max_size=80))
def test_a_crowded_folder_moves_what_is_unfinished_and_loses_nothing(todo):
    stream = UUID(int=99)

    async def crowded(spool_dir, patch):
        spool = Spool(spool_dir, OURS, segment_bytes=4096, max_bytes=4096 * 6)
        power = Power(spool.folder)
        patch.setattr(os, "fdatasync", power.fdatasync)
        model, synced = {}, {}
        for n in range(80):
            come_and_gone = UUID(int=1000 + n)
            for step in (
                [(Kind.DISPATCHED if n == 0 else Kind.PROGRESS, stream, b"%d." % n * 20)],
                [(Kind.OPENED, come_and_gone, b"x" * 1000)],
                (come_and_gone,),
                *(step for step in todo[n : n + 1] if step != "sync"),
            ):
                spool.acknowledge(*step) if isinstance(step, tuple) else spool.append_many(step)
                model = applied(model, step)
            if n % 3 == 0:
                await spool.sync()
                synced = model
                assert all(look == without_outdated_progress(model) for look in power.looks)
                power.looks.clear()
            left = power.left()
            for request in set(synced) & set(model):
                assert marks(left[request])[: len(marks(synced[request]))] == marks(synced[request])
        assert not spool.is_failing
        assert "00000001.spool" not in segments(spool.folder)
        assert found(spool.folder) == without_outdated_progress(model)
        await spool.close()

    with tempfile.TemporaryDirectory(dir=MEMORY) as name, pytest.MonkeyPatch.context() as patch:
        asyncio.run(crowded(Path(name), patch))


# Processes that die -------------------------------------------------------------------------------------------------

WRITER = """
import asyncio, os, sys
from pathlib import Path
from uuid import UUID
from billing.spool.writer import Kind, Spool

async def main():
    spool = Spool(Path(sys.argv[1]), UUID(sys.argv[2]), segment_bytes=1 << 16, max_bytes=1 << 22)
    for n in range(1, 1_000_000):
        spool.append(Kind.FINAL, UUID(int=n), b"%d." % n * 20)
        os.write(1, b"+%d\\n" % n)
        if n % 3:
            spool.acknowledge(UUID(int=n))
            os.write(1, b"-%d\\n" % n)
        if n % 100 == 0:
            await spool.sync()

asyncio.run(main())
"""


def started(script, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@pytest.mark.parametrize("lines", [1, 2, 50, 777, 6000])
def test_what_a_killed_process_had_told_is_there(tmp_path, lines):
    process_id = uuid4()
    with started(WRITER, tmp_path, process_id) as child:
        told = [child.stdout.readline() for _ in range(lines)]
        assert abandoned(tmp_path) == []
        child.send_signal(signal.SIGKILL)
        told += child.stdout.read().splitlines(keepends=True)
    appended = {int(line) for line in told if line.startswith(b"+") and line.endswith(b"\n")}
    acknowledged = {-int(line) for line in told if line.startswith(b"-") and line.endswith(b"\n")}

    assert abandoned(tmp_path) == [tmp_path / str(process_id)]
    there = {record_id.int: entries for record_id, entries in found(tmp_path / str(process_id)).items()}
    assert appended - acknowledged - {max(appended)} <= set(there)
    assert set(there) <= appended - acknowledged | {max(appended) + 1}  # written, and killed before it could be told
    assert max(appended) in there or max(appended) % 3  # acknowledged, and killed before that could be told
    assert all(entries == [(Kind.FINAL, b"%d." % n * 20)] for n, entries in there.items())


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


# Segments -----------------------------------------------------------------------------------------------------------


async def test_a_segment_goes_when_all_that_it_holds_is_acknowledged_and_not_before(spool):
    first, second = REQUESTS[:2]
    fill(spool, first)
    fill(spool, second, 3)  # both in 1, the second in 2 as well
    fill(spool, second, 2)
    assert segments(spool.folder) == ["00000001.spool", "00000002.spool", "00000003.spool"]
    spool.acknowledge(second)
    assert "00000001.spool" in segments(spool.folder)
    assert set(found(spool.folder)) == {first}
    fill(spool, first, 4)
    spool.acknowledge(first)
    assert segments(spool.folder) == ["00000004.spool", "00000005.spool"]  # the current one and the next
    assert found(spool.folder) == {}


async def test_an_acknowledgement_stays_as_long_as_any_record_before_it(spool):
    """Else a settled request would come back, without its end."""
    fill(spool, REQUESTS[0])  # stays open
    fill(spool, REQUESTS[1], 5)
    spool.acknowledge(REQUESTS[1])
    for n in range(10):
        fill(spool, UUID(int=n + 1))
        spool.acknowledge(UUID(int=n + 1))
    assert set(found(spool.folder)) == {REQUESTS[0]}


async def test_acknowledging_what_is_unknown_or_twice_does_nothing(spool):
    fill(spool, REQUESTS[0])
    spool.acknowledge(REQUESTS[0], REQUESTS[0])
    before = used(spool.folder)
    spool.acknowledge(REQUESTS[0], REQUESTS[1])
    spool.acknowledge()
    assert used(spool.folder) == before


async def test_a_closed_spool_without_unfinished_requests_leaves_nothing(tmp_path, spool):
    fill(spool, REQUESTS[0], 9)
    spool.acknowledge(REQUESTS[0])
    await spool.close()
    await spool.close()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SpoolFailed):
        spool.append(Kind.FINAL, REQUESTS[1], b"")


async def test_a_closed_spool_leaves_what_is_unfinished(tmp_path, spool):
    fill(spool, REQUESTS[0], 9)
    await spool.close()
    spool.acknowledge(REQUESTS[0])  # it is no longer ours
    assert abandoned(tmp_path) == [spool.folder]
    assert found(spool.folder) == {REQUESTS[0]: [(Kind.OPENED, b"x" * 1000)] * 9}


async def test_nobody_else_may_look_into_a_spool(spool):
    assert spool.folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o077 for path in spool.folder.iterdir()} == {0}


async def test_no_file_stays_open(tmp_path):
    async def use():
        spool = Spool(tmp_path, uuid4(), segment_bytes=4096, max_bytes=1 << 20)
        for request in REQUESTS:
            fill(spool, request, 20)
            await spool.sync()
        spool.acknowledge(*REQUESTS[1:])
        most = len(os.listdir("/proc/self/fd"))
        await spool.close()
        for folder in abandoned(tmp_path):
            with take(folder) as orphan:
                orphan.acknowledge(REQUESTS[0])
                orphan.remove()
        with pytest.raises(SpoolFailed):
            Spool(Path("/proc"), uuid4())
        return most

    await use()
    before = len(os.listdir("/proc/self/fd"))
    assert await use() <= before + 5
    assert len(os.listdir("/proc/self/fd")) == before


# To the disk --------------------------------------------------------------------------------------------------------


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


# Full disks ---------------------------------------------------------------------------------------------------------


async def test_a_spool_stays_within_its_bound_and_keeps_a_segment_for_the_ends(spool):
    n = 0
    while not spool.is_failing:
        n += 1
        fill(spool, UUID(int=n))
    await spool.sync()
    assert sum(path.stat().st_size for path in spool.folder.iterdir()) <= 8 * 4096
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


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 1 MiB."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tollgate-test", tmp_path], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a file system can only be mounted by root")
    yield tmp_path
    subprocess.run(["umount", "--lazy", tmp_path], check=True)


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


# Small things -------------------------------------------------------------------------------------------------------


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


def test_progress_is_due_once_a_second():
    assert is_progress_due(None, 5.0)
    assert not is_progress_due(5.0, 5.99)
    assert is_progress_due(5.0, 6.0)
