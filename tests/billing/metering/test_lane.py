"""The lane: what is handed in is written once, in batches, whoever leaves and however often it comes."""

import asyncio
import random
import uuid

import pytest

from billing.metering.lane import Lane
from tests.billing.books import settled, until

pytestmark = pytest.mark.usefixtures("quiet_loop")
PRICE_ID = uuid.UUID(int=5)


async def test_a_hold_is_durable_when_it_is_done_and_ends_once(lane, books):
    hold = books.hold(flags=("unpriced",))
    await lane.hold(hold)
    assert books.state(hold) == "pending"
    await lane.end(settled(hold, 40, flags=("first",)))
    await lane.end(settled(hold, 70, flags=("second",)))
    record = books.record(hold)
    assert (record["state"], record["cost_nano_usd"], record["flags"]) == ("settled", 40, ["unpriced", "first"])
    assert books.open(hold) is None


async def test_the_first_end_handed_in_counts(lane, books):
    hold = books.hold()
    await lane.hold(hold)
    first, second = lane.end(settled(hold, 40)), lane.end(settled(hold, 70))
    assert first is second
    await first
    assert books.record(hold)["cost_nano_usd"] == 40


async def test_an_end_under_way_is_not_overtaken(lane, books):
    hold = books.hold()
    await lane.hold(hold)
    with books.locked():
        first = lane.end(settled(hold, 40))
        await until(books.is_blocked)
        assert lane.end(settled(hold, 70)) is first
    await first
    assert books.record(hold)["cost_nano_usd"] == 40


async def test_a_storm_is_written_exactly(lane, books):
    holds = [books.hold() for _ in range(600)]

    async def live(number, hold):
        await lane.hold(hold)
        await lane.end(settled(hold, number))

    await asyncio.gather(*(live(number, hold) for number, hold in enumerate(holds)))
    assert books.states() == {"settled": 600}
    assert books.cost() == sum(range(600))


async def test_a_hold_taken_back_before_it_was_sent_leaves_no_trace(lane, books):
    under_way, gathered = books.hold(), books.hold()
    with books.locked():
        first = lane.hold(under_way)
        await until(books.is_blocked)
        second = lane.hold(gathered)
        second.cancel()
        lane.take_back(gathered, second)
    await first
    await lane.close(5)
    assert books.states() == {"pending": 1}


async def test_it_knows_what_it_has_not_brought_to_the_database_yet(lane, books):
    under_way, gathered = books.hold(), books.hold()
    with books.locked():
        first = lane.hold(under_way)
        await until(books.is_blocked)
        second = lane.hold(gathered)
        assert lane.holding() == {under_way.id, gathered.id}
    await asyncio.gather(first, second)
    assert lane.holding() == set()


async def test_who_hands_in_an_end_is_told_of_it_when_it_is_durable(plane, books):
    seen = []
    lane = Lane(books.url, lambda record_id: seen.append((record_id, books.state(hold))))
    lane.start()
    hold = books.hold()
    await lane.hold(hold)
    assert seen == []
    await lane.end(settled(hold))
    assert seen == [(hold.id, "settled")]
    await lane.close(5)


async def test_the_truth_after_an_estimate_is_one_adjustment(lane, tenant_books):
    """F17."""
    quota = tenant_books.set_quota("cost", 10_000)
    counted = tenant_books.set_quota("tokens", 1, is_hard=False)
    hold = tenant_books.hold(price_id=PRICE_ID)
    await lane.hold(hold)
    await lane.end(settled(hold, 100, usage_source="estimated", flags=("client_gone",)))
    was = tenant_books.record(hold)
    await lane.end(settled(hold, 90, usage_source="estimated"))
    assert tenant_books.adjustments(hold) == []
    for nano_usd, source in ((70, "recovered"), (80, "reported"), (70, "recovered"), (60, "estimated")):
        await lane.end(settled(hold, nano_usd, usage_source=source, input_tokens=9, output_tokens=9))
    (adjustment,) = tenant_books.adjustments(hold)
    changed = ("cost_nano_usd", "charged_nano_usd", "overage_nano_usd", "input_tokens", "output_tokens", "requests")
    assert [adjustment[name] for name in changed] == [-30, -30, 0, 2, 6, 0]
    assert adjustment["usage_source"] == "recovered"
    assert tenant_books.record(hold) == was
    assert tenant_books.window(quota) == (70, 0)
    assert tenant_books.window(counted) == (18, 0)


async def test_the_truth_that_no_longer_fits_is_overage(lane, tenant_books):
    quota = tenant_books.set_quota("cost", 10_000)
    hold, other = (tenant_books.hold(price_id=PRICE_ID, hold_nano_usd=nano) for nano in (6_000, 8_500))
    await lane.hold(hold)
    await lane.end(settled(hold, 1_000, usage_source="estimated"))
    await lane.hold(other)
    await lane.end(settled(hold, 7_000))
    (adjustment,) = tenant_books.adjustments(hold)
    assert [adjustment[f"{kind}_nano_usd"] for kind in ("cost", "charged", "overage")] == [6_000, 500, 5_500]
    assert adjustment["flags"] == ["overage"]
    assert tenant_books.window(quota) == (1_500, 8_500)


async def test_ends_that_are_repeated_in_any_order_change_nothing(lane, tenant_books):
    """F16."""
    quota = tenant_books.set_quota("cost", 100_000)
    holds = [tenant_books.hold(price_id=PRICE_ID) for _ in range(8)]
    await asyncio.gather(*map(lane.hold, holds))
    ends = [settled(hold, number, usage_source="reported") for number, hold in enumerate(holds)] * 5
    random.shuffle(ends)
    for start in range(0, len(ends), 3):
        await asyncio.gather(*(lane.end(end) for end in ends[start : start + 3]))
    assert tenant_books.states() == {"settled": 8}
    assert tenant_books.window(quota) == (sum(range(8)), 0)
    assert [tenant_books.record(hold)["cost_nano_usd"] for hold in holds] == list(range(8))
    assert not any(tenant_books.adjustments(hold) for hold in holds)
