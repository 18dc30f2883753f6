"""Two that meet in the books: each case is one moment of the two, held still by a lock."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import msgspec
import psycopg
import pytest

from billing.metering import connection as way
from billing.metering.lane import Lane
from billing.metering.refusals import QuotaExceeded
from billing.metering.writing import END_EXACTLY, HOLD_ANEW, HOLD_EXACTLY
from billing.record import Progress, Seen
from tests import plane_database
from tests.billing.books import batch_of, settled, until
from tests.billing.tenancy import Tenancy


@pytest.fixture
def tenancy(plane):
    tenancy = Tenancy(plane_database.url())
    yield tenancy
    tenancy.close()


@pytest.fixture
async def lane(tenancy, monkeypatch):
    monkeypatch.setattr(way, "RETRY_SECONDS", 0.02)
    lane = Lane(tenancy.url, lambda record_id: None)
    lane.start()
    yield lane
    await lane.close(5)


@pytest.fixture
def others(tenancy):
    """Connections of others, each with a thread for its calls."""
    made = Others(tenancy)
    yield made
    made.close()


class Others:
    def __init__(self, tenancy):
        self._tenancy = tenancy
        self._connections = []
        self._pool = ThreadPoolExecutor()

    def connect(self):
        self._connections.append(self._tenancy.connect())
        return self._connections[-1]

    def blocked(self, connection, call):
        """The future of a call that waits for another's lock."""
        future = self._pool.submit(lambda: next(iter(connection.execute(*call).fetchone().values())))
        waiting = "SELECT 1 AS n WHERE cardinality(pg_blocking_pids(%s)) > 0"
        pid = connection.info.backend_pid
        asyncio.run(until(lambda: future.done() or self._tenancy.execute(waiting, pid).fetchone()))
        assert not future.done(), future.exception()
        return future

    def close(self):
        for connection in self._connections:
            connection.close()
        self._pool.shutdown()


def write(holds=(), ends=()):
    return batch_of(holds, ends)


def hold_exactly(*holds):
    return HOLD_EXACTLY, [write(holds)[1][3]]


def end_exactly(*ends):
    return END_EXACTLY, [write((), ends)[1][1]]


def outcome(future, hold):
    return msgspec.json.decode(future.result(5))[str(hold.id)]


async def test_what_the_database_refuses_leaves_the_holds_of_its_batch_alone(lane, tenancy):
    hold = tenancy.hold(tenancy.owner())
    waiter = lane.hold(hold)
    lane.mark(Progress(id=hold.id, progress=Seen(model="gpt\0")))
    await waiter
    lane.mark(Progress(id=hold.id, response_id="resp_1", progress=Seen()))
    await until(lambda: tenancy.execute("SELECT id FROM billing_hold WHERE response_id = 'resp_1'").fetchone())
    assert not tenancy.execute("SELECT id FROM billing_usagerecord WHERE id = %s", hold.id).fetchone()


async def test_a_truth_that_the_database_refuses_leaves_the_holds_of_its_batch_alone(lane, tenancy):
    first, second = (tenancy.hold(tenancy.owner()) for _ in range(2))
    await lane.hold(first)
    await lane.end(settled(first, usage_source="estimated"))
    truth, waiter = lane.end(settled(first, output_tokens=-1)), lane.hold(second)
    await asyncio.wait_for(waiter, 5)
    await asyncio.wait_for(truth, 5)
    await lane.end(settled(second, 40))
    record = tenancy.execute("SELECT * FROM billing_usagerecord WHERE id = %s", second.id).fetchone()
    assert (record["state"], record["cost_nano_usd"]) == ("settled", 40)


def test_a_hold_that_another_call_is_just_writing_is_there(tenancy, others):
    hold = tenancy.hold(tenancy.owner())
    one, two = others.connect(), others.connect()
    with one.transaction():
        one.execute(*write([hold]))
        repeated = others.blocked(two, hold_exactly(hold))
    assert outcome(repeated, hold) == {"outcome": "exists"}


def test_the_truth_is_not_lost_to_an_estimate_that_is_just_being_written(tenancy, others):
    hold = tenancy.hold(tenancy.owner())
    one, two = others.connect(), others.connect()
    one.execute(*write([hold]))
    with one.transaction():
        one.execute(*write([], [settled(hold, 3, usage_source="estimated")]))
        truth = others.blocked(two, end_exactly(settled(hold, 8)))
    assert outcome(truth, hold) == "adjusted"
    assert tenancy.breaches() == {}


def test_truths_of_several_records_take_their_locks_in_the_order_of_all(tenancy, others):
    first, second = tenancy.owner(), tenancy.owner()
    quotas = [tenancy.quota(second, 1000), tenancy.quota(first, 1000)]
    one, two = others.connect(), others.connect()
    for owner in (second, first):  # so that the window of the second has the lower id
        one.execute(*hold_exactly(tenancy.hold(owner)))
    earlier, later = tenancy.hold(first), tenancy.hold(second)
    one.execute(*write([earlier, later]))
    one.execute(*write([], [settled(hold, 3, usage_source="estimated") for hold in (earlier, later)]))
    low, high = (tenancy.window(quota)["id"] for quota in quotas)
    assert low < high
    with one.transaction():
        one.execute("SELECT FROM billing_quotawindow WHERE id = %s FOR NO KEY UPDATE", [low])
        truths = others.blocked(two, end_exactly(*(settled(hold, 8) for hold in (earlier, later))))
        one.execute("SET LOCAL lock_timeout = '1s'")
        one.execute("SELECT FROM billing_quotawindow WHERE id = %s FOR NO KEY UPDATE", [high])
    assert outcome(truths, later) == "adjusted"
    assert tenancy.breaches() == {}


def test_a_window_that_ends_while_a_hold_waits_for_it_admits_no_more_than_its_limit(tenancy, others):
    owner = tenancy.owner()
    quota = tenancy.quota(owner, 100, period="day")
    one, two = others.connect(), others.connect()
    one.execute(*hold_exactly(tenancy.hold(owner, 40)))
    with one.transaction():
        one.execute(*write([tenancy.hold(owner, 50)]))
        late = tenancy.hold(owner, 60)
        waiting = others.blocked(two, hold_exactly(late))
        one.execute("UPDATE billing_quotawindow SET ends_at = now() WHERE quota_id = %s", [quota])
        one.execute("UPDATE billing_quota SET window_ends_at = now() WHERE id = %s", [quota])
        one.execute("SELECT billing_open_windows(ARRAY[%s::uuid])", [owner["organization_id"]])
    try:
        answer = waiting.result(5)
    except psycopg.errors.SerializationFailure:  # then the lane sends it again
        answer = two.execute(*hold_exactly(late)).fetchone()["billing_hold_exactly"]
    assert msgspec.json.decode(answer)[str(late.id)]["outcome"] == "held"
    assert tenancy.window(quota)["held"] == 60
    assert tenancy.breaches() == {}


def test_a_lost_hold_made_anew_while_its_window_ends_is_in_the_books(tenancy, others):
    owner = tenancy.owner()
    quota = tenancy.quota(owner, 100, period="day")
    one, two = others.connect(), others.connect()
    one.execute(*hold_exactly(tenancy.hold(owner, 40)))
    with one.transaction():
        one.execute(*write([tenancy.hold(owner, 50)]))
        anew = HOLD_ANEW, [write([tenancy.hold(owner, 60)])[1][3]]
        waiting = others.blocked(two, anew)
        one.execute("UPDATE billing_quotawindow SET ends_at = now() WHERE quota_id = %s", [quota])
        one.execute("UPDATE billing_quota SET window_ends_at = now() WHERE id = %s", [quota])
        one.execute("SELECT billing_open_windows(ARRAY[%s::uuid])", [owner["organization_id"]])
    with pytest.raises(psycopg.errors.SerializationFailure, match="quotas changed meanwhile"):
        waiting.result(5)


async def test_a_hold_beyond_all_measure_is_refused_for_want_of_room(lane, tenancy):
    owner = tenancy.owner()
    tenancy.quota(owner, 100)
    await lane.hold(tenancy.hold(owner, 10))
    with pytest.raises(QuotaExceeded):
        await lane.hold(tenancy.hold(owner, 2**63 - 1))


def test_a_truth_below_zero_is_refused(tenancy):
    owner = tenancy.owner()
    tenancy.quota(owner, 1000, metric="tokens", is_hard=False)
    hold = tenancy.hold(owner)
    tenancy.connection.execute(*hold_exactly(hold))
    tenancy.connection.execute(*write([], [settled(hold, 3, usage_source="estimated")]))
    with pytest.raises(psycopg.errors.CheckViolation):
        tenancy.connection.execute(*end_exactly(settled(hold, -3)))
    with pytest.raises(psycopg.errors.CheckViolation):
        tenancy.connection.execute(*end_exactly(settled(hold, 3, output_tokens=-1)))
