"""What the database refuses keeps no neighbour, and as much of it is kept as can be."""

import asyncio
import contextlib
import uuid

import pytest

from billing.metering import connection, writing
from billing.metering import lane as lane_module
from billing.metering.refusals import BillingUnavailable, QuotaExceeded
from billing.record import Progress, Seen
from tests.billing.books import settled, until
from tests.billing.metering.calls import failing_at, observed

pytestmark = pytest.mark.usefixtures("quiet_loop")
PRICE_ID = uuid.UUID(int=5)


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
