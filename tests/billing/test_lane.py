"""The lane: what is handed in is written once, whoever leaves and whatever breaks on the way."""

import asyncio
import contextlib
import random
import uuid

import msgspec
import pytest

from billing.metering import connection, writing
from billing.metering import lane as lane_module
from billing.metering.alarms import ALARMS
from billing.metering.lane import Lane
from billing.metering.refusals import BillingUnavailable, QuotaExceeded, Unpriced
from billing.record import Progress, Seen
from tests.billing.books import settled, until
from tests.billing.proxy import Proxy

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


# Quotas


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
    assert [str(item.id) in fast[1] for item in (tight, roomy)] == [False, True]
    assert [str(item.id) in exact[0] for item in (tight, roomy)] == [True, False]


def observed(lane, monkeypatch):
    """The calls that the lane makes from now on: statements and parameters."""
    calls, connection = [], lane._connection
    call = connection.call
    monkeypatch.setattr(connection, "call", lambda *what: calls.append(what[:2]) or call(*what))
    return calls


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


# Ends that come again


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


# What the database refuses


@pytest.mark.parametrize(
    "bad", [{"model": "gpt\0"}, {"hold_nano_usd": 2**70}, {"hold_nano_usd": -1}, {"retry_count": 2**20}]
)
async def test_a_hold_that_is_refused_keeps_no_neighbour(lane, books, bad, caplog):
    good, refused_hold = [books.hold() for _ in range(4)], books.hold(**bad)
    with books.locked():
        first = lane.hold(good[0])
        await until(books.is_blocked)
        rest = [lane.hold(hold) for hold in good[1:]]
        lost = lane.hold(refused_hold)
    await asyncio.gather(first, *rest)
    with pytest.raises(BillingUnavailable):
        await lost
    assert books.states() == {"pending": 4}
    assert "is refused" in caplog.text


@pytest.mark.parametrize("bad", [{"response_id": "resp\0"}, {"reported_usage": {"\0": 1}}, {"service_tier": "\ud800"}])
async def test_of_an_end_whose_text_is_refused_the_figures_are_kept(lane, books, bad, caplog):
    hold = books.hold()
    await lane.hold(hold)
    await lane.end(settled(hold, **({"served_model": "canary"} | bad)))
    assert "is refused" in caplog.text
    assert "canary" not in caplog.text  # what an upstream wrote may hold anything
    record = books.record(hold)
    assert (record["flags"], record["usage_source"], record["cost_nano_usd"]) == (["refused"], "reported", 100)


@pytest.mark.parametrize("bad", [{"cost_nano_usd": -1}, {"input_tokens": 2**64}, {"state": "nonesuch"}])
async def test_an_end_that_is_refused_is_kept_as_an_end_and_flagged(lane, books, bad, caplog):
    holds = [books.hold() for _ in range(4)]
    await asyncio.gather(*(lane.hold(hold) for hold in holds))
    ends = [lane.end(settled(hold)) for hold in holds[1:]]
    ends.append(lane.end(settled(holds[0], **bad)))
    await asyncio.gather(*ends)
    assert books.states() == {"settled": 4}
    record = books.record(holds[0])
    assert (record["flags"], record["usage_source"], record["cost_nano_usd"]) == (["refused"], "estimated", 0)
    assert [books.record(hold)["cost_nano_usd"] for hold in holds[1:]] == [100] * 3
    assert "is refused" in caplog.text


async def test_an_end_that_the_database_cannot_take_for_now_keeps_nobody(lane, books, quick, monkeypatch):
    monkeypatch.setattr(lane_module, "PARKED_SECONDS", 0.05)
    stuck, other = books.hold(), books.hold()
    await asyncio.gather(lane.hold(stuck), lane.hold(other))
    with broken_for(books, stuck):
        parked = lane.end(settled(stuck))
        await lane.end(settled(other))
        assert not parked.done()
    await parked
    assert books.record(stuck)["cost_nano_usd"] == 100


@contextlib.contextmanager
def broken_for(books, hold):
    """A trigger that fails for this record, as no constraint does."""
    books.execute(f"""CREATE FUNCTION break_down() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF new.id = '{hold.id}' THEN RAISE EXCEPTION 'broken'; END IF; RETURN new; END $$""")
    books.execute(
        "CREATE TRIGGER broken BEFORE INSERT ON billing_usagerecord FOR EACH ROW EXECUTE FUNCTION break_down()"
    )
    yield
    books.execute("DROP FUNCTION break_down CASCADE")


@pytest.mark.parametrize("error", [connection.Refused, connection.Stuck, ValueError])
async def test_a_mark_that_is_refused_decides_nothing_again(lane, tenant_books, monkeypatch, caplog, error):
    """The hold that was refused beside it is not held by a repetition, once there is room."""
    quota = tenant_books.set_quota("cost", 1_000)
    large = tenant_books.hold(price_id=PRICE_ID, hold_nano_usd=2_000)

    def make_room():
        tenant_books.execute("SELECT billing_set_limit(%s, 9000)", quota)
        raise error

    calls = observed(lane, monkeypatch)
    failing_at(lane, monkeypatch, writing.MARK, make_room)
    lane.mark(Progress(id=large.id, progress=Seen()))
    with pytest.raises(QuotaExceeded):
        await lane.hold(large)
    await lane.close(5)
    assert tenant_books.states() == {}
    assert [statement for statement, _ in calls].count(writing.HOLD_EXACTLY) == 1
    assert "1 marks of progress are refused" in caplog.text


async def test_an_answered_hold_is_not_decided_again_with_a_refused_neighbour(lane, books, monkeypatch):
    """Its request may have ended, and its id be held anew, before that is through."""
    held, ended = books.hold(), books.hold()
    calls = observed(lane, monkeypatch)

    def refuse():
        raise connection.Refused

    failing_at(lane, monkeypatch, writing.END_EXACTLY, refuse)
    await asyncio.gather(lane.hold(held), lane.end(settled(ended)))
    await lane.close(5)
    assert sum(str(held.id) in str(parameters) for _, parameters in calls) == 1


# What breaks on the way


def failing_at(lane, monkeypatch, statement, what):
    """The lane's first call of that statement does `what` instead."""
    way = lane._connection
    call, left = way.call, [what]
    monkeypatch.setattr(way, "call", lambda *call_: left.pop()() if left and call_[0] == statement else call(*call_))


def failing_once(what):
    """Tells the lane's listener to fail at the first end."""
    ended = []

    def when_ended(record_id):
        ended.append(record_id)
        if len(ended) == 1:
            what()

    return when_ended


def raise_something():
    raise ZeroDivisionError


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
