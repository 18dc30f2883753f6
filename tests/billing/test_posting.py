"""From ended records to rollups and the ledger: each is added once, whoever posts, however often, and whoever dies."""

import asyncio
import contextlib
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.metering.connection import OPTIONS
from billing.metering.request_ids import uuid7
from tests import plane_database
from tests.billing.books import batch_of, end, hold_of, new_id, settled

SUMS = ("requests", "voided", "input_tokens", "output_tokens", "cost_nano_usd", "charged_nano_usd", "overage_nano_usd")


@pytest.fixture
def books(tenant_books):
    """Of an organization in the tables; no other records wait to be posted."""
    post(tenant_books.connection)
    return tenant_books


def post(connection, most=10_000):
    return connection.execute("SELECT billing_post_settled(%s) AS n", [most]).fetchone()


def rolled_up(books):
    sums = ", ".join(f"coalesce(sum({name}), 0)::bigint AS {name}" for name in SUMS)
    organization = books.hold().organization_id
    return books.execute(f"SELECT {sums} FROM billing_usagerollup WHERE organization_id = %s", organization).fetchone()


def recorded(books):
    """What ended and was adjusted, as far as it is posted."""
    return books.execute(
        """SELECT coalesce(sum(requests), 0)::bigint AS requests, coalesce(sum(voided), 0)::bigint AS voided,
        coalesce(sum(input_tokens), 0)::bigint AS input_tokens,
        coalesce(sum(output_tokens), 0)::bigint AS output_tokens,
        coalesce(sum(cost_nano_usd), 0)::bigint AS cost_nano_usd,
        coalesce(sum(charged_nano_usd), 0)::bigint AS charged_nano_usd,
        coalesce(sum(overage_nano_usd), 0)::bigint AS overage_nano_usd
        FROM (SELECT id AS record_id, false AS is_adjustment, organization_id, (state = 'settled')::int AS requests,
            (state = 'void')::int AS voided, input_tokens, output_tokens, cost_nano_usd, charged_nano_usd,
            overage_nano_usd FROM billing_usagerecord
            UNION ALL SELECT record_id, true, organization_id, requests, -requests, input_tokens, output_tokens,
            cost_nano_usd, charged_nano_usd, overage_nano_usd FROM billing_adjustment) item
        WHERE organization_id = %s AND (record_id, is_adjustment) NOT IN (
            SELECT record_id, is_adjustment FROM billing_unposted)""", books.hold().organization_id
    ).fetchone()  # fmt: skip


def ledger(books):
    rows = books.execute(
        "SELECT posting_id, account, amount_nano_usd AS amount FROM billing_ledgerentry WHERE organization_id = %s",
        books.hold().organization_id,
    ).fetchall()
    postings = Counter()
    for row in rows:
        postings[row["posting_id"]] += row["amount"]
    assert set(postings.values()) <= {0}
    accounts = Counter({"organization": 0, "revenue": 0})
    for row in rows:
        accounts[row["account"]] += row["amount"]
    return dict(accounts)


def assert_balanced(books, charged):
    assert rolled_up(books) == recorded(books)
    assert rolled_up(books)["charged_nano_usd"] == charged
    assert ledger(books) == {"organization": -charged, "revenue": charged}


def write(books, *ends):
    """A record for each end, a function of its hold; all pending where it is None."""
    holds = [books.hold() for _ in ends]
    books.connection.execute(*batch_of(holds, []))
    books.connection.execute(*batch_of([], [end(hold) for hold, end in zip(holds, ends, strict=True) if end]))
    return holds


def cost(nano_usd, **fields):
    return lambda hold: settled(hold, nano_usd, **fields)


def void(hold):
    return settled(hold, 0, state="void", usage_source="none", input_tokens=0, output_tokens=0)


def test_what_ended_is_posted_once(books):
    write(books, cost(100), cost(250), cost(0), void, None)
    post(books.connection)
    post(books.connection)
    assert_balanced(books, 350)
    assert (rolled_up(books)["requests"], rolled_up(books)["voided"]) == (3, 1)
    assert books.states() == {"settled": 3, "void": 1, "pending": 1}


def test_an_overage_is_cost_and_not_charged(books):
    quota = books.set_quota("cost", 1_000)
    hold = books.hold(hold_nano_usd=60, price_id=uuid.uuid4())
    books.decide(hold)
    end(books.connection, settled(hold, 100))
    post(books.connection)
    assert_balanced(books, 60)
    assert books.window(quota) == (60, 0)
    assert rolled_up(books)["cost_nano_usd"] == 100


def test_an_adjustment_is_posted_once_in_the_hour_in_which_it_came(books):
    (hold,) = write(books, cost(100, usage_source="estimated"))
    books.execute("UPDATE billing_usagerecord SET created_at = created_at - interval '3 hours' WHERE id = %s", hold.id)
    post(books.connection)
    assert_balanced(books, 100)
    for nano_usd in (70, 90):
        end(books.connection, settled(hold, nano_usd))
        post(books.connection)
        assert_balanced(books, 70)
    hours = "SELECT charged_nano_usd AS n FROM billing_usagerollup WHERE organization_id = %s ORDER BY hour"
    assert [row["n"] for row in books.execute(hours, hold.organization_id)] == [100, -30]


def test_a_void_record_that_turned_out_to_be_used_counts_as_settled(books):
    (hold,) = write(books, void)
    post(books.connection)
    end(books.connection, settled(hold, 70))
    post(books.connection)
    assert_balanced(books, 70)
    assert (rolled_up(books)["requests"], rolled_up(books)["voided"]) == (1, 0)


def test_hours_are_those_of_utc_whatever_the_session_says(books):
    (hold,) = write(books, cost(1))
    admitted = datetime(2026, 11, 3, 12, 40, tzinfo=UTC)
    books.execute("UPDATE billing_usagerecord SET created_at = %s WHERE id = %s", admitted, hold.id)
    books.execute("SET timezone = 'Asia/Kolkata'")
    post(books.connection)
    rollup = books.execute("SELECT hour FROM billing_usagerollup WHERE organization_id = %s", hold.organization_id)
    assert rollup.fetchone()["hour"] == datetime(2026, 11, 3, 12, tzinfo=UTC)


def test_a_posting_that_dies_has_done_nothing(books):
    write(books, cost(100), cost(200))
    with psycopg.connect(books.url) as dying:
        post(dying)
        books.execute("SELECT pg_terminate_backend(%s)", dying.info.backend_pid)
        with contextlib.suppress(psycopg.OperationalError):
            dying.commit()
    assert rolled_up(books)["requests"] == 0
    post(books.connection)
    assert_balanced(books, 300)


def test_two_postings_at_once_share_the_records(books):
    write(books, *[cost(number) for number in range(50)])
    with psycopg.connect(books.url) as first, psycopg.connect(books.url, autocommit=True) as second:
        first.execute("SET timezone = 'UTC'")
        (claimed,) = post(first, 20)
        assert claimed == 20
        second.execute("SET lock_timeout = '200ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):  # the same bucket: the second waits for the first
            post(second)
        first.commit()
        post(second)
    assert_balanced(books, sum(range(50)))


def test_an_end_that_comes_again_does_not_wait_for_a_posting_under_way(books):
    (hold,) = write(books, cost(100))
    with psycopg.connect(books.url) as posting:
        post(posting)
        books.execute("SET lock_timeout = '200ms'")
        end(books.connection, settled(hold, 7))
    assert books.record(hold)["cost_nano_usd"] == 100


def test_a_late_record_is_added_to_an_hour_that_was_posted(books):
    write(books, cost(100))
    post(books.connection)
    write(books, cost(11))
    post(books.connection)
    assert_balanced(books, 111)


@pytest.mark.slow
async def test_a_storm_of_ends_and_postings_loses_and_doubles_nothing(books, meter):
    over = asyncio.Event()

    async def live(number):
        hold = books.hold()
        await meter.hold(hold)
        await meter.settle(settled(hold, number) if number % 7 else void(hold))

    async def keep_posting():
        async with await psycopg.AsyncConnection.connect(books.url, autocommit=True) as connection:
            while not over.is_set():
                await connection.execute("SELECT billing_post_settled(37)")

    posting = [asyncio.create_task(keep_posting()) for _ in range(2)]
    for start in range(0, 1000, 100):
        await asyncio.gather(*(live(number) for number in range(start, start + 100)))
    over.set()
    await asyncio.gather(*posting)
    await meter.close(10)
    post(books.connection)
    assert_balanced(books, sum(number for number in range(1000) if number % 7))
    assert recorded(books)["requests"] + recorded(books)["voided"] == 1000


STEPS = st.one_of(
    st.tuples(st.just("hold"), st.integers(0, 5)),
    st.tuples(st.just("settle"), st.integers(0, 5), st.integers(0, 10**12)),
    st.tuples(st.just("void"), st.integers(0, 5)),
    st.tuples(st.just("post"), st.integers(1, 3)),
    st.tuples(st.just("post later"), st.integers(1, 3)),
    st.tuples(st.just("commit"), st.just(0)),
    st.tuples(st.just("die"), st.just(0)),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, min_size=4, max_size=30))
def test_the_books_are_what_a_plain_model_says(books, steps):
    """Any order of holds, ends and postings over three connections; one posting is in a transaction of its own."""
    organization_id = books.hold().organization_id
    before = rolled_up(books)["charged_nano_usd"]
    ids, model = [new_id() for _ in range(6)], {}
    with psycopg.connect(books.url, autocommit=True, options=OPTIONS) as lane, psycopg.connect(books.url) as slow:
        for connection in (books.connection, lane):
            connection.execute("SET lock_timeout = '20ms'")
        for kind, number, *amount in steps:
            if kind == "hold":
                with contextlib.suppress(psycopg.Error):  # it is there, or has ended
                    lane.execute(*batch_of([books.hold(id=ids[number])], []))
                model.setdefault(number, [])
            elif kind in {"settle", "void"}:
                hold = books.hold(id=ids[number])
                end(lane, settled(hold, *amount) if amount else void(hold))
                if number in model and not (model[number] and (model[number][-1] is not None or not amount)):
                    model[number].append(amount[0] if amount else None)  # used after all: the truth counts
            elif kind == "post":
                with contextlib.suppress(psycopg.errors.LockNotAvailable):  # then it has done nothing
                    post(books.connection, number)
            elif kind == "post later":
                post(slow, number)
            elif kind == "commit":
                slow.commit()
            else:
                slow.rollback()
        slow.rollback()
        books.execute("RESET lock_timeout")
        while post(books.connection)["n"]:
            pass
    charged = sum(amount or 0 for amounts in model.values() for amount in amounts)
    assert_balanced(books, before + charged)
    pending = books.execute("SELECT id FROM billing_hold WHERE organization_id = %s", organization_id)
    left = {row["id"] for row in pending} & set(ids)
    assert left == {ids[number] for number, amounts in model.items() if not amounts}


# Partitions


def place_of(connection, record_id):
    found = connection.execute("SELECT tableoid::regclass::text FROM billing_usagerecord WHERE id = %s", [record_id])
    return found.fetchone()[0]


@pytest.fixture
def emptied(plane):
    """A connection whose changes are undone: the tables of records as after a migration."""
    with psycopg.connect(plane_database.url()) as connection:
        connection.execute("LOCK TABLE billing_usagerecord")
        yield connection
        connection.rollback()


def ended_at(connection, moment, nano_usd=100):
    hold = hold_of(id=uuid7(round(moment.timestamp() * 1000), bytes(10)))
    connection.execute(*batch_of([hold], []))
    end(connection, settled(hold, nano_usd))
    return hold


def first_of_next_month():
    later = datetime.now(UTC).replace(day=1) + timedelta(days=32)
    return later.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def test_a_month_ends_at_its_last_millisecond_in_utc(emptied):
    emptied.execute("SET timezone = 'America/Los_Angeles'")
    border = first_of_next_month()
    before, after = ended_at(emptied, border - timedelta(milliseconds=1)), ended_at(emptied, border)
    this_month, next_month = datetime.now(UTC), border
    assert place_of(emptied, before.id) == f"billing_usagerecord_{this_month:%Y_%m}"
    assert place_of(emptied, after.id) == f"billing_usagerecord_{next_month:%Y_%m}"


def test_a_record_outside_all_months_is_written_and_moves_once_its_month_is_made(emptied):
    far = (datetime.now(UTC).replace(day=15) + timedelta(days=31 * 4)).replace(day=2)
    hold = ended_at(emptied, far, 5)
    assert place_of(emptied, hold.id) == "billing_usagerecord_default"
    assert emptied.execute("SELECT billing_make_partitions(6)").fetchone()[0] >= 1
    assert place_of(emptied, hold.id) == f"billing_usagerecord_{far:%Y_%m}"
    end(emptied, settled(hold, 7))
    kept = emptied.execute("SELECT cost_nano_usd FROM billing_usagerecord WHERE id = %s", [hold.id]).fetchone()
    assert kept == (5,)
    assert emptied.execute("SELECT billing_make_partitions(6)").fetchone() == (0,)


def test_making_a_month_never_keeps_the_lane_waiting(plane):
    with psycopg.connect(plane_database.url()) as reader, psycopg.connect(plane_database.url()) as maker:
        reader.execute("SELECT count(*) FROM billing_usagerecord")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            maker.execute("SELECT billing_make_partitions(12)")
