"""What was appended is there after any history, whoever dies; segments come and go."""

import asyncio
import os
import shutil
import signal
import tempfile
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from billing.spool.abandoned import abandoned, take
from billing.spool.writer import Kind, Spool, SpoolFailed, is_progress_due
from tests.billing.spool.reading import (
    MEMORY,
    OPEN_KINDS,
    OURS,
    REQUESTS,
    fill,
    found,
    segments,
    started,
    used,
)

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


SENT = [[(Kind.DISPATCHED, request, b".")] for request in REQUESTS[:2]]


@settings(max_examples=15, deadline=None)
@given(todo=st.lists(steps, max_size=80))
@example(todo=["sync"] * 3 + [SENT[0]] * 3 + [SENT[1], "sync", (REQUESTS[0],), "sync", (REQUESTS[1],), SENT[1]])
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
                if isinstance(step, tuple):  # who comes again under its id is another, and not synced
                    synced = applied(synced, step)
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


def test_progress_is_due_once_a_second():
    assert is_progress_due(None, 5.0)
    assert not is_progress_due(5.0, 5.99)
    assert is_progress_due(5.0, 6.0)
