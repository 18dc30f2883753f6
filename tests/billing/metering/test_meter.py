"""The meter: deadlines, callers that leave, and what lies in the spool until the database has it."""

import asyncio
import contextlib
import uuid

import msgspec
import pytest

from billing.metering import lane as lane_module
from billing.metering import meter as meter_module
from billing.metering.alarms import ALARMS
from billing.metering.refusals import BillingUnavailable
from billing.record import Opened, Seen, Settlement, void
from billing.spool.abandoned import unfinished
from billing.spool.writer import Kind, Spool
from tests.billing.books import idle, running_meter, settled, until

pytestmark = pytest.mark.usefixtures("quiet_loop")


async def refused(waiting):
    with pytest.raises(BillingUnavailable):
        await waiting


# Who waits leaves


async def test_a_hold_that_came_too_late_ends_void(meter, books):
    meter._hold_seconds = 0.1
    hold = books.hold()
    with books.locked():
        await refused(meter.hold(hold))
        assert books.is_blocked()
    assert await until(lambda: books.state(hold) == "void")
    assert books.record(hold)["flags"] == ["undispatched"]
    assert meter.open_requests() == set()


async def test_a_hold_cancelled_under_way_ends_void(meter, books):
    hold = books.hold()
    with books.locked():
        task = asyncio.create_task(meter.hold(hold))
        await until(books.is_blocked)
        task.cancel()
        task.cancel()
        await asyncio.wait([task])
    assert await until(lambda: books.state(hold) == "void")


async def test_a_hold_cancelled_as_it_is_written_ends_void(meter, books, monkeypatch):
    hold = books.hold()
    monkeypatch.setattr(lane_module, "_retrieved", lambda waiter: task.cancel())
    task = asyncio.create_task(meter.hold(hold))
    await asyncio.wait([task])
    assert task.cancelled()
    monkeypatch.undo()
    assert await until(lambda: books.state(hold) == "void")


async def test_a_settle_whose_caller_left_is_written(meter, books):
    hold = books.hold()
    await meter.hold(hold)
    with books.locked():
        task = asyncio.create_task(meter.settle(settled(hold)))
        await until(books.is_blocked)
        task.cancel()
        await asyncio.wait([task])
    assert await until(lambda: books.state(hold) == "settled")


async def test_closing_waits_for_what_was_handed_in(meter, books):
    holds = [books.hold() for _ in range(5)]
    for hold in holds:
        await meter.hold(hold)
        meter.settle_soon(settled(hold))
    left = asyncio.create_task(meter.hold(books.hold()))
    await asyncio.sleep(0)
    left.cancel()
    await meter.close(5)
    assert books.states() == {"settled": 5}


async def test_a_database_that_is_away_refuses_holds_and_leaves_no_trace_of_them(books, folder, quick, caplog):
    away = f"host={folder} user=nobody"
    async with running_meter(away, folder / "spool", hold_seconds=0.1, settle_seconds=0.1) as meter:
        await asyncio.gather(*(refused(meter.hold(books.hold())) for _ in range(3)))
        assert not await meter.settle(settled(books.hold()))
        await meter.close(0.1)
    assert "1 holds and ends are not written" in caplog.text


async def test_it_knows_its_open_requests(meter, books):
    holds = [books.hold() for _ in range(3)]
    for hold in holds:
        await meter.hold(hold)
    assert meter.open_requests() == {hold.id for hold in holds}
    await meter.settle(settled(holds[0]))
    assert meter.open_requests() == {hold.id for hold in holds[1:]}


async def test_of_holds_that_the_database_lost_only_those_that_were_sent_are_made_anew(meter, tenant_books):
    unsent, sent = tenant_books.hold(), tenant_books.hold()
    for hold in (unsent, sent):
        await meter.hold(hold)
    meter.dispatched(sent.id)
    tenant_books.execute("DELETE FROM billing_hold WHERE id = ANY (%s)", [unsent.id, sent.id])
    before = ALARMS.labels(reason="hold_lost")._value.get()
    await meter.settle_soon(void(unsent.id, None, ("undispatched",)))
    await meter.settle_soon(settled(sent))
    assert tenant_books.states() == {"settled": 1}
    assert ALARMS.labels(reason="hold_lost")._value.get() == before + 1


async def test_a_request_that_is_over_has_an_end(meter, books, caplog):
    unsent, sent, ended, refused_one = (books.hold() for _ in range(4))
    for hold in (unsent, sent, ended):
        await meter.hold(hold)
    meter.dispatched(sent.id)
    end = meter.settle_soon(settled(ended, 40))
    for hold in (unsent, sent, ended, refused_one):
        meter.release(hold.id)
    await end
    await idle(meter)
    assert [books.record(hold)["flags"] for hold in (unsent, sent, ended)] == [["undispatched"], ["unanswered"], []]
    assert [books.record(hold)["cost_nano_usd"] for hold in (unsent, sent, ended)] == [0, 0, 40]
    assert books.states() == {"void": 1, "settled": 2}
    assert str(ended.id) not in caplog.text


# The spool


@pytest.fixture
async def spool(folder):
    return Spool(folder, uuid.uuid4(), segment_bytes=1 << 16, max_bytes=1 << 20)


@pytest.fixture
async def spooling(books, spool):
    """A meter that waits a tenth of a second for the database to confirm an end, on `spool`."""
    async with running_meter(books.url, None, settle_seconds=0.1, spool=spool) as meter:
        yield meter


def kept(spool, hold):
    """What lies in the spool of that request, by kind, as another process reads it."""
    return {entry.kind: entry.payload for entry in unfinished(spool.folder).get(hold.id, [])}


async def test_an_end_that_is_not_confirmed_in_time_is_on_the_disk(spooling, spool, books, flushes):
    hold = books.hold()
    end = settled(hold, 40, flags=("client_gone",))
    await spooling.hold(hold)
    spooling.dispatched(hold.id)
    with books.locked():
        assert not flushes
        assert not await spooling.settle(end)
        assert flushes
        assert msgspec.json.decode(kept(spool, hold)[Kind.FINAL], type=Settlement) == end
    await until(lambda: kept(spool, hold) == {})
    assert books.record(hold)["cost_nano_usd"] == 40


async def test_an_end_that_is_confirmed_costs_no_flush_and_leaves_nothing(spooling, spool, books, flushes):
    holds = [books.hold() for _ in range(20)]
    spooling._settle_seconds = 5
    for hold in holds:
        await spooling.hold(hold)
        spooling.dispatched(hold.id)
        assert set(kept(spool, hold)) == {Kind.DISPATCHED}
        assert await spooling.settle(settled(hold))
    assert unfinished(spool.folder) == {}
    assert not flushes
    await spooling.close(5)
    assert not spool.folder.exists()


async def test_what_is_known_of_an_open_request_is_kept_as_it_comes(spooling, spool, books):
    hold = books.hold()
    await spooling.hold(hold)
    spooling.dispatched(hold.id)
    opened = Opened(response_id="resp_1", upstream_id=hold.upstream_id)
    spooling.opened(hold.id, opened)
    spooling.opened(hold.id, Opened(response_id="resp_2", upstream_id=hold.upstream_id))
    for events in (1, 2, 3):  # within a second: the first is kept
        spooling.seen(hold.id, Seen(events, "flex", "gpt-5"))
    found = kept(spool, hold)
    assert set(found) == {Kind.DISPATCHED, Kind.OPENED, Kind.PROGRESS}
    assert msgspec.json.decode(found[Kind.OPENED], type=Opened) == opened
    assert msgspec.json.decode(found[Kind.PROGRESS]) == {"delta_events": 1, "service_tier": "flex", "model": "gpt-5"}


async def test_progress_goes_to_the_open_row_now_and_then(books, tmp_path, monkeypatch):
    monkeypatch.setattr(meter_module, "is_progress_due", lambda last, now: True)
    async with running_meter(books.url, tmp_path, progress_seconds=0) as meter:
        hold = books.hold()
        await meter.hold(hold)
        meter.opened(hold.id, Opened(response_id="resp_1", upstream_id=hold.upstream_id))
        for events in (1, 2):
            meter.seen(hold.id, Seen(events, "", "gpt-5"))
        await idle(meter)
        row = books.open(hold)
    assert (row["response_id"], row["progress"]["delta_events"]) == ("resp_1", 2)


async def test_what_is_left_open_stays_in_the_spool(spooling, spool, books):
    hold = books.hold()
    await spooling.hold(hold)
    spooling.dispatched(hold.id)
    await spooling.close(5)
    assert set(kept(spool, hold)) == {Kind.DISPATCHED}


async def test_a_hold_under_way_when_the_meter_closes_is_left_to_who_replays_its_spool(spooling, spool, books):
    hold = books.hold()
    spooling._hold_seconds = 0.05
    with books.locked():
        await refused(spooling.hold(hold))
        await spooling.close(0.1)
        assert spooling.open_requests() == {hold.id}
    assert spool.folder.exists()
    assert unfinished(spool.folder) == {}


async def test_an_end_that_no_file_can_hold_still_reaches_the_database(meter, books):
    hold = books.hold()
    await meter.hold(hold)
    assert await meter.settle(settled(hold, service_tier="\ud800"))
    assert books.record(hold)["flags"] == ["refused"]
    after = books.hold()
    await meter.hold(after)
    assert books.state(after) == "pending"


async def test_on_a_full_disk_nothing_is_admitted_and_ends_go_on(books, tiny_disk, monkeypatch):
    """F21."""
    monkeypatch.setattr(meter_module, "PROBE_SECONDS", 0.05)
    spool = Spool(tiny_disk, uuid.uuid4(), segment_bytes=1 << 17)
    async with running_meter(books.url, None, spool=spool) as meter:
        holds = [books.hold() for _ in range(5)]
        for hold in holds:
            await meter.hold(hold)
            meter.dispatched(hold.id)
        filler = tiny_disk / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(4096)):
                pass
        large = Opened(response_id="r" * 40_000, upstream_id=holds[0].upstream_id)
        for hold in holds:
            meter.opened(hold.id, large)
        assert spool.is_failing
        late = books.hold()
        await refused(meter.hold(late))
        assert books.state(late) is None
        for hold in holds[1:]:
            assert await meter.settle(settled(hold))
        assert books.states() == {"settled": 4, "pending": 1}
        filler.unlink()
        await until(lambda: not spool.is_failing)
        await meter.hold(late)
        for hold in (late, holds[0]):
            assert await meter.settle(settled(hold))
    assert books.states() == {"settled": 6}


async def test_what_cannot_be_kept_as_dispatched_is_not_dispatched(spooling, spool, books):
    hold = books.hold()
    await spooling.hold(hold)
    await spool.close()
    with pytest.raises(BillingUnavailable):
        spooling.dispatched(hold.id)
