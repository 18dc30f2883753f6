"""A server that stops, hangs, refuses writes or is killed: nobody waits past the deadline, and no end is lost."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from billing.metering.refusals import BillingUnavailable
from tests.billing.books import Books, running_meter, settled, until

pytestmark = pytest.mark.usefixtures("quiet_loop")


@pytest.fixture
async def meter(own_books, quick, tmp_path):
    async with running_meter(own_books.url, tmp_path, hold_seconds=0.5, settle_seconds=0.25) as meter:
        yield meter


async def refused(waiting):
    with pytest.raises(BillingUnavailable):
        await waiting


async def test_a_call_that_is_carried_out_long_after_it_was_given_up_changes_nothing(meter, own_books):
    await meter.hold(own_books.hold())
    stopped = own_books.lane()
    os.kill(stopped, signal.SIGSTOP)
    try:
        hold = own_books.hold()
        task = asyncio.create_task(meter.hold(hold))
        await asyncio.sleep(0.1)
        task.cancel()
        await until(lambda: own_books.state(hold) == "void")
    finally:
        os.kill(stopped, signal.SIGCONT)
    gone = "SELECT 1 FROM pg_stat_activity WHERE pid = %s"
    await until(lambda: own_books.execute(gone, stopped).fetchone() is None)
    assert own_books.states() == {"pending": 1, "void": 1}


async def test_a_server_that_hangs_costs_nobody_more_than_the_deadline(meter, own_books, server):
    open_hold = own_books.hold()
    await meter.hold(open_hold)
    loop, group = asyncio.get_running_loop(), server._process.pid
    os.killpg(group, signal.SIGSTOP)
    children = _children(group)
    for child in children:
        os.kill(child, signal.SIGSTOP)
    try:
        began = loop.time()
        assert not await meter.settle(settled(open_hold))
        await refused(meter.hold(own_books.hold()))
        assert loop.time() - began < 1.5
    finally:
        for child in [*children, group]:
            os.kill(child, signal.SIGCONT)
    assert await until(lambda: own_books.state(open_hold) == "settled", seconds=20)
    await meter.close(10)
    assert "pending" not in own_books.states()


async def test_a_server_that_takes_no_writes_for_a_while_refuses_no_end(meter, own_books):
    hold = own_books.hold()
    await meter.hold(hold)
    own_books.execute("ALTER DATABASE postgres SET default_transaction_read_only = on")
    try:
        own_books.end_lane()
        assert not await meter.settle(settled(hold))
        await refused(meter.hold(own_books.hold()))
    finally:
        own_books.execute("SET default_transaction_read_only = off")
        own_books.execute("ALTER DATABASE postgres SET default_transaction_read_only = off")
    await until(lambda: own_books.state(hold) == "settled")
    assert own_books.record(hold)["cost_nano_usd"] == 100


@pytest.mark.slow
async def test_a_server_that_was_killed_gets_the_ends_when_it_is_back(meter, own_books, server):
    hold = own_books.hold()
    await meter.hold(hold)
    lane = own_books.lane()
    server._process.kill()
    server.stop()
    await until(lambda: not Path(f"/proc/{lane}").exists())  # it sees the postmaster's death a moment later
    assert not await meter.settle(settled(hold))
    server.start()
    again = Books(own_books.url)
    await until(lambda: again.state(hold) == "settled", seconds=20)
    again.close()


def _children(pid):
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *_children(int(child))]
    return found
