"""Lanes that die, connections that are cut, answers that are lost: nothing is, and nothing is written twice."""

import asyncio
import uuid

import msgspec
import pytest

from billing.metering import connection, writing
from billing.metering import lane as lane_module
from billing.metering.lane import Lane
from billing.metering.refusals import QuotaExceeded
from billing.record import Progress, Seen
from tests.billing.books import settled, until
from tests.billing.metering.calls import failing_at, raise_something
from tests.billing.proxy import Proxy

pytestmark = pytest.mark.usefixtures("quiet_loop")
PRICE_ID = uuid.UUID(int=5)


def failing_once(what):
    """Tells the lane's listener to fail at the first end."""
    ended = []

    def when_ended(record_id):
        ended.append(record_id)
        if len(ended) == 1:
            what()

    return when_ended


@pytest.mark.parametrize(
    "what", [raise_something, lambda: asyncio.current_task().cancel()], ids=["raises", "cancelled"]
)
async def test_a_lane_that_dies_is_begun_anew_with_all_that_it_had(books, plane, caplog, what, monkeypatch):
    monkeypatch.setattr(lane_module, "PARKED_SECONDS", 0.05)
    lane = Lane(books.url, failing_once(what))
    lane.start()
    holds = [books.hold() for _ in range(5)]
    await asyncio.gather(*map(lane.hold, holds))
    await asyncio.wait_for(asyncio.gather(*(lane.end(settled(hold)) for hold in holds), lane.hold(books.hold())), 10)
    await asyncio.wait_for(lane.hold(books.hold()), 10)  # a cancellation comes where the lane waits next
    assert books.states() == {"settled": 5, "pending": 2}
    assert "began anew" in caplog.text
    assert await lane.close(5)
    assert caplog.text.count("began anew") == 1


async def test_a_lane_that_died_decides_nothing_again_that_was_answered(tenant_books, plane, monkeypatch):
    """Else the smaller hold that took the refused one's place would be taken for it, and voided."""
    monkeypatch.setattr(lane_module, "PARKED_SECONDS", 0.2)
    tenant_books.set_quota("cost", 1_000)
    lane = Lane(tenant_books.url, lambda record_id: None)
    lane.start()
    before, large = (tenant_books.hold(price_id=PRICE_ID, hold_nano_usd=amount) for amount in (100, 2_000))
    await lane.hold(before)
    failing_at(lane, monkeypatch, writing.MARK, raise_something)
    lane.mark(Progress(id=large.id, progress=Seen()))
    end, refused = lane.end(settled(before, 40)), lane.hold(large)
    await end
    with pytest.raises(QuotaExceeded):
        await refused
    await lane.hold(msgspec.structs.replace(large, hold_nano_usd=500))
    await asyncio.sleep(0.4)  # until what was parked has come again
    assert await lane.close(5)
    assert tenant_books.states() == {"settled": 1, "pending": 1}


async def test_a_hold_that_was_refused_is_never_voided(lane, tenant_books):
    """Nobody waits for a hold that was answered, though nobody left it."""
    hold = tenant_books.hold()
    waiter = asyncio.get_running_loop().create_future()
    waiter.set_exception(QuotaExceeded(()))
    lane._gathered.holds[hold.id] = (hold, waiter)
    await lane.hold(tenant_books.hold())
    await lane.close(5)
    assert tenant_books.states() == {"pending": 2}
    assert isinstance(waiter.exception(), QuotaExceeded)


async def test_a_hold_given_up_while_its_lane_died_ends_void(books, plane, monkeypatch):
    monkeypatch.setattr(lane_module, "PARKED_SECONDS", 0.05)
    lane = Lane(books.url, lambda record_id: None)
    lane.start()
    hold = books.hold()
    with monkeypatch.context() as patch:
        patch.setattr(lane._writing, "_held", lambda *_: raise_something())
        waiter = lane.hold(hold)
        await until(lambda: books.state(hold) == "pending")
        waiter.cancel()
        lane.take_back(hold, waiter)
    await until(lambda: books.state(hold) == "void")
    await lane.close(5)


async def test_connections_killed_under_load_lose_and_double_nothing(lane, books, quick):
    async def live(number):
        hold = books.hold()
        await lane.hold(hold)
        await lane.end(settled(hold, number))

    async def kill():
        for _ in range(8):
            books.end_lane()
            await asyncio.sleep(0.02)

    killer = asyncio.create_task(kill())
    for batch in range(10):
        await asyncio.gather(*(live(number) for number in range(batch * 40, batch * 40 + 40)))
    await killer
    assert books.states() == {"settled": 400}
    assert books.cost() == sum(range(400))


@pytest.fixture
async def cut_lane(books, folder):
    """A lane over a way that can be cut: (lane, way)."""
    async with Proxy(books.url, folder) as proxy:
        lane = Lane(proxy.url, lambda record_id: None)
        lane.start()
        await lane.hold(books.hold())
        yield lane, proxy
        await lane.close(5)


async def test_a_hold_whose_answer_was_lost_is_held(cut_lane, books, quick):
    lane, proxy = cut_lane
    hold = books.hold()
    for wait in (lambda: lane.hold(hold), lambda: lane.end(settled(hold))):
        proxy.lose_next_answer()
        await wait()
        assert proxy.lost.is_set()
    assert books.states() == {"settled": 1, "pending": 1}


async def test_a_hold_whose_answer_was_lost_and_whose_request_left_ends_void(cut_lane, books, monkeypatch):
    monkeypatch.setattr(connection, "RETRY_SECONDS", 0.3)
    lane, proxy = cut_lane
    proxy.lose_next_answer()
    hold = books.hold()
    waiter = lane.hold(hold)
    await proxy.lost.wait()
    assert books.state(hold) == "pending"
    waiter.cancel()  # while the lane waits to try again
    lane.take_back(hold, waiter)
    await lane.close(5)
    assert books.state(hold) == "void"
