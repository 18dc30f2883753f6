"""Ends whose hold the database lost are booked all the same, as far as they fit."""

import asyncio
import uuid

import pytest

from billing.metering.alarms import ALARMS
from tests.billing.books import settled

pytestmark = pytest.mark.usefixtures("quiet_loop")
PRICE_ID = uuid.UUID(int=5)


def lose(books, hold):
    """As a failover to a replica that lagged does: whatever the hold had changed is as it was."""
    held = "SELECT unnest(window_ids) AS id, unnest(held_amounts) AS amount FROM billing_hold WHERE id = %s"
    books.execute(
        f"UPDATE billing_quotawindow w SET held = w.held - h.amount FROM ({held}) h WHERE w.id = h.id", hold.id
    )
    books.execute("DELETE FROM billing_hold WHERE id = %s", hold.id)


LOST = [
    # limit, used meanwhile; what is then charged, over, posted, and flagged
    ("cost", 10_000, 0, (4_000, 0), 4_000, ["hold_lost"]),
    ("cost", 10_000, 7_500, (2_500, 1_500), 10_000, ["hold_lost", "overage"]),
    ("cost", 10_000, 10_000, (0, 4_000), 10_000, ["hold_lost", "overage"]),
    ("tokens", 100, 0, (4_000, 0), 10, ["hold_lost"]),
    ("tokens", 100, 94, (4_000, 0), 100, ["hold_lost", "tokens_over_hold"]),
    ("requests", 1, 0, (4_000, 0), 1, ["hold_lost"]),
    ("requests", 1, 1, (4_000, 0), 1, ["hold_lost"]),
]


@pytest.mark.parametrize("case", LOST)
async def test_an_end_whose_hold_the_database_lost_is_booked_as_far_as_it_fits(lane, tenant_books, case):
    metric, limit, used, charged, posted, flags = case
    quota = tenant_books.set_quota(metric, limit)
    counted = tenant_books.set_quota("requests", 5, is_hard=False, period="month")
    hold = tenant_books.hold(price_id=PRICE_ID, hold_nano_usd=6_000, hold_tokens=60)
    await lane.hold(hold)
    lose(tenant_books, hold)
    tenant_books.execute("UPDATE billing_quotawindow SET posted = %s WHERE quota_id = %s", used, quota)
    for _ in range(2):
        await lane.end(settled(hold, 4_000, response_id="resp_1"), hold)
    record = tenant_books.record(hold)
    assert (record["charged_nano_usd"], record["overage_nano_usd"]) == charged
    assert (record["flags"], record["response_id"], record["model"]) == (flags, "resp_1", hold.model)
    assert tenant_books.window(quota) == (posted, 0)
    assert tenant_books.window(counted) == (1, 0)
    assert tenant_books.states() == {"settled": 1}
    assert tenant_books.adjustments(hold) == []


async def test_of_lost_holds_each_is_booked_once_and_their_neighbours_as_ever(lane, tenant_books):
    quota = tenant_books.set_quota("cost", 10_000)
    holds = [tenant_books.hold(price_id=PRICE_ID, hold_nano_usd=1_000) for _ in range(6)]
    await asyncio.gather(*map(lane.hold, holds))
    for hold in holds[::2]:
        lose(tenant_books, hold)
    before = ALARMS.labels(reason="hold_lost")._value.get()
    await asyncio.gather(*(lane.end(settled(hold, 100), hold) for hold in holds))
    assert ALARMS.labels(reason="hold_lost")._value.get() == before + 3
    assert tenant_books.states() == {"settled": 6}
    assert [tenant_books.record(hold)["flags"] for hold in holds] == [["hold_lost"], []] * 3
    assert tenant_books.window(quota) == (600, 0)


async def test_what_was_held_for_a_key_that_nobody_knows_is_booked_nowhere(lane, books, caplog):
    """A spool that outlived its database."""
    hold = books.hold()
    await lane.end(settled(hold), hold)
    assert books.state(hold) is None
    assert "its hold is lost" in caplog.text


async def test_an_end_that_was_never_held_is_said_and_written_nowhere(lane, books, caplog):
    hold = books.hold()
    await lane.end(settled(hold))
    assert books.state(hold) is None
    assert "its hold is lost" in caplog.text
