"""What does not fit a quota is refused, with its figures, and keeps nothing else of its batch."""

import asyncio
import uuid

import pytest

from billing.metering import writing
from billing.metering.refusals import BillingUnavailable, QuotaExceeded, Unpriced
from tests.billing.books import settled
from tests.billing.metering.calls import observed

pytestmark = pytest.mark.usefixtures("quiet_loop")
PRICE_ID = uuid.UUID(int=5)


async def test_a_batch_with_a_hold_that_does_not_fit_writes_all_the_rest(lane, tenant_books):
    quota = tenant_books.set_quota("cost", 10_000)
    before, small, large, free = (
        tenant_books.hold(price_id=PRICE_ID, hold_nano_usd=amount) for amount in (6_000, 5_000, 7_000, 0)
    )
    await lane.hold(before)
    assert tenant_books.window(quota) == (0, 6_000)
    waiting = [lane.hold(hold) for hold in (small, large, free)]
    end = lane.end(settled(before, 4_000))  # all in one batch
    outcomes = await asyncio.gather(*waiting, end, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [type(None), QuotaExceeded, type(None), type(None)]
    assert tenant_books.states() == {"settled": 1, "pending": 2}
    assert tenant_books.window(quota) == (4_000, 5_000)


async def test_ends_of_a_batch_make_room_for_its_holds(lane, tenant_books):
    quota = tenant_books.set_quota("requests", 1)
    first, second = tenant_books.hold(), tenant_books.hold()
    await lane.hold(first)
    await lane.end(settled(first, 0, state="void", usage_source="none", input_tokens=0, output_tokens=0))
    await lane.hold(second)
    assert tenant_books.window(quota) == (0, 1)
    with pytest.raises(QuotaExceeded):
        await lane.hold(tenant_books.hold())


async def test_the_fast_way_refuses_what_does_not_fit(lane, tenant_books, monkeypatch):
    """With another's window in the same batch, and before the organization is known to be tight."""
    quota = tenant_books.set_quota("tokens", 250)
    holds = [tenant_books.hold(hold_tokens=100) for _ in range(4)]
    await lane.hold(holds[0])  # opens the window
    calls = observed(lane, monkeypatch)
    outcomes = await asyncio.gather(*map(lane.hold, holds[1:]), return_exceptions=True)
    assert [statement for statement, _ in calls] == [writing.WRITE, writing.HOLD_EXACTLY]
    assert sum(isinstance(outcome, QuotaExceeded) for outcome in outcomes) == 2
    assert tenant_books.window(quota) == (0, 200)


async def test_a_tight_organization_keeps_no_other_from_the_fast_way(lane, tenant_books, books, monkeypatch):
    tenant_books.set_quota("requests", 1)
    await lane.hold(tenant_books.hold())
    with pytest.raises(QuotaExceeded):
        await lane.hold(tenant_books.hold())
    calls = observed(lane, monkeypatch)
    tight, roomy, before = tenant_books.hold(), books.hold(), books.hold()
    await lane.hold(before)
    outcomes = await asyncio.gather(
        lane.hold(tight), lane.hold(roomy), lane.end(settled(before)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [QuotaExceeded, type(None), type(None)]
    assert [statement for statement, _ in calls[1:]] == [writing.WRITE, writing.HOLD_EXACTLY]
    (_, fast), (_, exact) = calls[1:]
    assert [str(item.id) in fast[3] for item in (tight, roomy)] == [False, True]
    assert [str(item.id) in exact[0] for item in (tight, roomy)] == [True, False]


@pytest.mark.parametrize("way", ["fast", "exact"])
async def test_a_hold_whose_request_has_ended_is_not_held_again(lane, books, way):
    hold = books.hold()
    await lane.hold(hold)
    await lane.end(settled(hold, 40))
    if way == "fast":
        with pytest.raises(BillingUnavailable):
            await lane.hold(hold)
    else:
        assert [outcome.outcome for outcome in books.decide(hold)] == ["ended"]
    assert books.open(hold) is None
    assert books.record(hold)["cost_nano_usd"] == 40


async def test_a_refused_hold_says_which_quotas_lack_how_much(lane, tenant_books, committed_key):
    organization = committed_key.project.organization.name
    tenant_books.set_quota("cost", 1_000)
    tenant_books.set_quota("tokens", 150, level="project", period="month")
    tenant_books.set_quota("requests", 1, level="key", period="day")
    tenant_books.set_quota("requests", 1_000)  # has room
    tenant_books.set_quota("cost", 1, period="day", is_hard=False)  # only counts
    await lane.hold(tenant_books.hold(price_id=PRICE_ID, hold_nano_usd=600, hold_tokens=100))
    with pytest.raises(QuotaExceeded) as refusal:
        await lane.hold(tenant_books.hold(price_id=PRICE_ID, hold_nano_usd=500, hold_tokens=70))
    request, token, cost = refusal.value.lacking
    ends_at = tenant_books.execute("SELECT metric, window_ends_at AS at FROM billing_quota WHERE organization_id = %s "
        "AND period <> 'forever' AND is_hard", tenant_books.hold().organization_id).fetchall()  # fmt: skip
    ends_at = {row["metric"]: row["at"] for row in ends_at}
    assert [(q.level, q.name, q.metric, q.period, q.is_credit, q.limit, q.needed, q.left, q.renews_at)
            for q in (request, token, cost)] == [
        ("key", f"laptop {committed_key.hint}", "requests", "day", False, 1, 1, 0, ends_at["requests"]),
        ("project", f"{organization}/website", "tokens", "month", False, 150, 70, 50, ends_at["tokens"]),
        ("organization", organization, "cost", "forever", False, 1_000, 500, 400, None),
    ]  # fmt: skip
    assert (refusal.value.left("cost"), refusal.value.left("tokens")) == (400, 50)
    assert tenant_books.states() == {"pending": 1}


@pytest.mark.parametrize("is_hard", [True, False])
async def test_a_hard_cost_quota_admits_nothing_without_a_price(lane, tenant_books, is_hard):
    tenant_books.set_quota("cost", 10**9, is_hard=is_hard)
    priced, unpriced = tenant_books.hold(price_id=PRICE_ID), tenant_books.hold()
    await lane.hold(priced)
    if is_hard:
        with pytest.raises(Unpriced):
            await lane.hold(unpriced)
    else:
        await lane.hold(unpriced)
    assert (tenant_books.state(unpriced) is None) == is_hard
