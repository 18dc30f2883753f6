"""The lane: what is handed in is written once, whoever leaves and whatever breaks on the way."""

import asyncio
import os
import signal
import tempfile
from pathlib import Path

import psycopg
import pytest

from billing import metering
from billing.metering import BillingUnavailable, Meter
from gateway.local.embedded import PostgresServer, database_url
from tests import plane_database
from tests.billing.books import Books, batch_of, settled, until
from tests.billing.proxy import Proxy

SQL = Path(metering.__file__).parent


@pytest.fixture
def books(plane):
    books = Books(plane_database.url())
    yield books
    books.clear()
    books.close()


@pytest.fixture
async def meter(books):
    meter = Meter(books.url, hold_seconds=5, settle_seconds=5)
    meter.start()
    yield meter
    await meter.close(10)


@pytest.fixture(autouse=True)
def quiet_loop(caplog):
    """No task or future of ours may end unseen."""
    yield
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


@pytest.fixture
def quick(monkeypatch):
    """A server that hangs is given up after a third of a second."""
    monkeypatch.setattr(metering, "HANGING_SECONDS", 0.3)
    monkeypatch.setattr(metering, "RETRY_SECONDS", 0.02)


async def refused(waiting):
    with pytest.raises(BillingUnavailable):
        await waiting


async def test_a_hold_is_durable_when_it_returns_and_ends_once(meter, books):
    hold = books.hold(flags=("unpriced",))
    await meter.hold(hold)
    assert books.state(hold) == "pending"
    assert await meter.settle(settled(hold, 40, flags=("first",)))
    assert await meter.settle(settled(hold, 70, flags=("second",)))
    record = books.record(hold)
    assert (record["state"], record["cost_nano_usd"], record["flags"]) == ("settled", 40, ["unpriced", "first"])


async def test_the_first_end_handed_in_counts(meter, books):
    hold = books.hold()
    await meter.hold(hold)
    first, second = meter.settle_soon(settled(hold, 40)), meter.settle_soon(settled(hold, 70))
    assert first is second
    await first
    assert books.record(hold)["cost_nano_usd"] == 40


async def test_an_end_under_way_is_not_overtaken(meter, books):
    hold = books.hold()
    await meter.hold(hold)
    with books.locked():
        first = meter.settle_soon(settled(hold, 40))
        await until(books.is_blocked)
        assert meter.settle_soon(settled(hold, 70)) is first
    await first
    assert books.record(hold)["cost_nano_usd"] == 40


async def test_a_storm_is_written_exactly(meter, books):
    holds = [books.hold() for _ in range(600)]

    async def live(number, hold):
        await meter.hold(hold)
        await meter.settle(settled(hold, number))

    await asyncio.gather(*(live(number, hold) for number, hold in enumerate(holds)))
    assert books.states() == {"settled": 600}
    total = books.execute("SELECT sum(cost_nano_usd) AS n FROM billing_usagerecord WHERE organization_id = %s",
                          holds[0].organization_id).fetchone()["n"]  # fmt: skip
    assert total == sum(range(600))


# Who waits leaves


async def test_a_hold_that_came_too_late_ends_void(meter, books):
    meter._hold_seconds = 0.1
    hold = books.hold()
    with books.locked():
        await refused(meter.hold(hold))
        assert books.is_blocked()
    assert await until(lambda: books.state(hold) == "void")
    assert books.record(hold)["flags"] == ["undispatched"]


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
    monkeypatch.setattr(metering, "_retrieved", lambda waiter: task.cancel())
    task = asyncio.create_task(meter.hold(hold))
    await asyncio.wait([task])
    assert task.cancelled()
    monkeypatch.undo()
    assert await until(lambda: books.state(hold) == "void")


async def test_a_hold_taken_back_before_it_was_sent_leaves_no_trace(meter, books):
    under_way, gathered = books.hold(), books.hold()
    with books.locked():
        first = asyncio.create_task(meter.hold(under_way))
        await until(books.is_blocked)
        second = asyncio.create_task(meter.hold(gathered))
        await asyncio.sleep(0)
        second.cancel()
    await first
    await meter.close(5)
    assert books.states() == {"pending": 1}


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


# What the database refuses


@pytest.mark.parametrize(
    "bad", [{"model": "gpt\0"}, {"hold_nano_usd": 2**70}, {"hold_nano_usd": -1}, {"retry_count": 2**20}]
)
async def test_a_hold_that_is_refused_keeps_no_neighbour(meter, books, bad, caplog):
    good, refused_hold = [books.hold() for _ in range(4)], books.hold(**bad)
    with books.locked():
        first = asyncio.create_task(meter.hold(good[0]))
        await until(books.is_blocked)
        rest = [asyncio.create_task(meter.hold(hold)) for hold in good[1:]]
        lost = asyncio.create_task(meter.hold(refused_hold))
        await asyncio.sleep(0)
    await asyncio.gather(first, *rest)
    await refused(lost)
    assert books.states() == {"pending": 4}
    assert "is refused" in caplog.text


@pytest.mark.parametrize(
    "bad",
    [{"response_id": "resp\0"}, {"overage_nano_usd": 1}, {"input_tokens": 2**64}, {"reported_usage": {"\0": 1}},
     {"service_tier": "\ud800"}, {"state": "nonesuch"}],
)  # fmt: skip
async def test_an_end_that_is_refused_is_kept_as_an_end_and_flagged(meter, books, bad, caplog):
    holds = [books.hold() for _ in range(4)]
    await asyncio.gather(*(meter.hold(hold) for hold in holds))
    ends = [meter.settle_soon(settled(hold)) for hold in holds[1:]]
    ends.append(meter.settle_soon(settled(holds[0], **bad)))
    await asyncio.gather(*ends)
    assert books.states() == {"settled": 4}
    record = books.record(holds[0])
    assert (record["flags"], record["usage_source"], record["cost_nano_usd"]) == (["refused"], "estimated", 0)
    assert [books.record(hold)["cost_nano_usd"] for hold in holds[1:]] == [100] * 3
    assert "is refused" in caplog.text


# What breaks on the way


async def test_connections_killed_under_load_lose_and_double_nothing(meter, books, quick):
    async def live(number):
        hold = books.hold()
        await meter.hold(hold)
        meter.settle_soon(settled(hold, number))

    async def kill():
        for _ in range(8):
            books.end_lane()
            await asyncio.sleep(0.02)

    killer = asyncio.create_task(kill())
    for batch in range(10):
        await asyncio.gather(*(live(number) for number in range(batch * 40, batch * 40 + 40)))
    await killer
    await meter.close(10)
    assert books.states() == {"settled": 400}
    total = books.execute("SELECT sum(cost_nano_usd) AS n FROM billing_usagerecord WHERE organization_id = %s",
                          books.hold().organization_id).fetchone()["n"]  # fmt: skip
    assert total == sum(range(400))


@pytest.fixture
def folder():
    with tempfile.TemporaryDirectory(prefix="tg-") as folder:
        yield Path(folder)


async def test_a_hold_whose_answer_was_lost_is_held(books, folder, quick):
    async with Proxy(books.url, folder) as proxy:
        meter = Meter(proxy.url, hold_seconds=5, settle_seconds=5)
        meter.start()
        await meter.hold(books.hold())
        proxy.lose_next_answer()
        hold = books.hold()
        await meter.hold(hold)
        assert proxy.lost.is_set()
        proxy.lose_next_answer()
        assert await meter.settle(settled(hold))
        assert proxy.lost.is_set()
        await meter.close(5)
    assert books.states() == {"settled": 1, "pending": 1}


async def test_a_hold_whose_answer_was_lost_and_whose_request_left_ends_void(books, folder, monkeypatch):
    monkeypatch.setattr(metering, "RETRY_SECONDS", 0.3)
    async with Proxy(books.url, folder) as proxy:
        meter = Meter(proxy.url, hold_seconds=5, settle_seconds=5)
        meter.start()
        await meter.hold(books.hold())
        proxy.lose_next_answer()
        hold = books.hold()
        task = asyncio.create_task(meter.hold(hold))
        await proxy.lost.wait()
        assert books.state(hold) == "pending"
        task.cancel()  # while the lane waits to try again
        await asyncio.wait([task])
        await meter.close(5)
    assert books.state(hold) == "void"


async def test_a_database_that_is_away_refuses_holds_and_leaves_no_trace_of_them(books, folder, quick, caplog):
    meter = Meter(f"host={folder} user=nobody", hold_seconds=0.1, settle_seconds=0.1)
    meter.start()
    await asyncio.gather(*(refused(meter.hold(books.hold())) for _ in range(3)))
    assert not await meter.settle(settled(books.hold()))
    await meter.close(0.1)
    assert "1 holds and ends are not written" in caplog.text


# A server of its own, so that it can be stopped


@pytest.fixture(scope="module")
def server():
    with tempfile.TemporaryDirectory(prefix="tg-") as folder:
        server = PostgresServer(Path(folder), durable=False)
        server.start()
        with psycopg.connect(database_url(Path(folder)), autocommit=True) as connection:
            for name in ("partitions", "metering"):
                connection.execute((SQL / f"{name}.sql").read_text())
            connection.execute("SELECT billing_make_partitions(3)")
            connection.execute("ALTER DATABASE postgres SET synchronous_commit = on")  # what was committed stays
        yield server
        server.stop()


@pytest.fixture
def own_books(server):
    books = Books(database_url(server.var))
    books.execute("TRUNCATE billing_usagerecord")
    yield books
    books.close()


@pytest.fixture
async def own_meter(own_books, quick):
    meter = Meter(own_books.url, hold_seconds=0.5, settle_seconds=0.25)
    meter.start()
    yield meter
    await meter.close(10)


async def test_a_call_that_is_carried_out_long_after_it_was_given_up_changes_nothing(own_meter, own_books):
    await own_meter.hold(own_books.hold())
    stopped = own_books.lane()
    os.kill(stopped, signal.SIGSTOP)
    try:
        hold = own_books.hold()
        task = asyncio.create_task(own_meter.hold(hold))
        await asyncio.sleep(0.1)
        task.cancel()
        await until(lambda: own_books.state(hold) == "void")
    finally:
        os.kill(stopped, signal.SIGCONT)
    gone = "SELECT 1 FROM pg_stat_activity WHERE pid = %s"
    await until(lambda: own_books.execute(gone, stopped).fetchone() is None)
    assert own_books.states() == {"pending": 1, "void": 1}


async def test_a_server_that_hangs_costs_nobody_more_than_the_deadline(own_meter, own_books, server):
    open_hold = own_books.hold()
    await own_meter.hold(open_hold)
    loop, group = asyncio.get_running_loop(), server._process.pid
    os.killpg(group, signal.SIGSTOP)
    children = _children(group)
    for child in children:
        os.kill(child, signal.SIGSTOP)
    try:
        began = loop.time()
        assert not await own_meter.settle(settled(open_hold))
        await refused(own_meter.hold(own_books.hold()))
        assert loop.time() - began < 1.5
    finally:
        for child in [*children, group]:
            os.kill(child, signal.SIGCONT)
    assert await until(lambda: own_books.state(open_hold) == "settled", seconds=20)
    await own_meter.close(10)
    assert "pending" not in own_books.states()


async def test_a_server_that_takes_no_writes_for_a_while_refuses_no_end(own_meter, own_books):
    hold = own_books.hold()
    await own_meter.hold(hold)
    own_books.execute("ALTER DATABASE postgres SET default_transaction_read_only = on")
    try:
        own_books.end_lane()
        assert not await own_meter.settle(settled(hold))
        await refused(own_meter.hold(own_books.hold()))
    finally:
        own_books.execute("SET default_transaction_read_only = off")
        own_books.execute("ALTER DATABASE postgres SET default_transaction_read_only = off")
    await until(lambda: own_books.state(hold) == "settled")
    assert own_books.record(hold)["cost_nano_usd"] == 100


@pytest.mark.slow
async def test_a_server_that_was_killed_gets_the_ends_when_it_is_back(own_meter, own_books, server):
    hold = own_books.hold()
    await own_meter.hold(hold)
    server._process.kill()
    server.stop()
    assert not await own_meter.settle(settled(hold))
    server.start()
    again = Books(own_books.url)
    await until(lambda: again.state(hold) == "settled", seconds=20)
    again.close()


def test_a_batch_reads_its_own_records_alone(own_books):
    """As the lane asks: one index scan for the batch's ids, in the month's partition alone, whatever lies between."""
    holds = [own_books.hold() for _ in range(64)]
    notices = []
    with psycopg.connect(own_books.url, autocommit=True, options=metering.OPTIONS) as lane:
        lane.add_notice_handler(lambda notice: notices.append(notice.message_primary))
        lane.execute("LOAD 'auto_explain'")
        for setting in ("log_min_duration = 0", "log_nested_statements = on", "log_analyze = on"):
            lane.execute(f"SET auto_explain.{setting}")
        lane.execute("SET client_min_messages = log")
        lane.execute(*batch_of(holds, []))
        lane.execute(*batch_of([], [settled(holds[0]), settled(holds[-1])]))
    locking = next(notice for notice in notices if "LockRows" in notice)
    updating = next(notice for notice in notices if "Update on" in notice)
    assert locking.index("LockRows") < locking.index("Sort") < locking.index("Scan")
    for plan in (locking, updating):
        scans = [line for line in plan.splitlines() if "_id_idx on" in line or "_pkey on" in line]
        assert len(scans) == 1
        assert "rows=2.00 loops=1" in scans[0]
        assert "Index Cond: ((id = ANY" in plan
        assert "Subplans Removed: 4" in plan
        assert "Seq Scan" not in plan
    assert own_books.states() == {"settled": 2, "pending": 62}


def _children(pid):
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *_children(int(child))]
    return found
