"""Rollups anew: whatever became of them, they are again what was posted, also while more is posted."""

import sys
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from accounts.models import APIKey, Organization, Project
from billing.books import ledger
from billing.books.ledger import Rebuilt
from billing.models import LedgerEntry, UsageRollup
from billing.record import void
from tests import plane_database
from tests.billing.books import Books, batch_of, settled

COLUMNS = (
    "hour", "organization_id", "project_id", "api_key_id", "model", "upstream_id", "requests", "voided",
    "input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens", "cost_nano_usd",
    "charged_nano_usd", "overage_nano_usd",
)  # fmt: skip


@pytest.fixture
def books(committed):
    organization = Organization.objects.create(name=f"rolled-{uuid.uuid4().hex[:12]}")
    project = Project.objects.create(organization=organization, name="website")
    key = APIKey.objects.issue(project=project, name="bot")[0]
    books = Books(plane_database.url(), organization.pk, project.pk, key.pk)
    books.execute("DELETE FROM billing_unposted")
    ledger.rebuild_rollups()  # what other tests left
    yield books
    books.close()


def write(books, *, at=None, **fields):
    """A record; `at`: when it was admitted."""
    hold = books.hold(**fields)
    books.connection.execute(*batch_of([hold], []))
    if at:
        books.execute("UPDATE billing_hold SET created_at = %s WHERE id = %s", at, hold.id)
    return hold


def end(books, hold, end):
    books.connection.execute(*batch_of([], [end]))
    return hold


def history(books):
    """Records of three hours, voided ones and an estimate that the truth came to an hour later; all posted."""
    now = datetime.now(UTC)
    for hours in (5, 3, 3, 0):
        end(books, hold := write(books, at=now - timedelta(hours=hours)), settled(hold, 100 + hours, cached_tokens=2))
    end(books, hold := write(books, model="o3-pro"), void(hold.id, 502))
    end(books, hold := write(books, at=now - timedelta(hours=1)), settled(hold, 50, usage_source="estimated"))
    ledger.post_settled()
    truth = batch_of([], [settled(hold, 80, usage_source="recovered")])[1][1]
    assert books.execute("SELECT billing_end_exactly(%s) AS n", truth).fetchone()["n"] == {str(hold.id): "adjusted"}
    ledger.post_settled()


def rollups():
    return sorted(UsageRollup.objects.values_list(*COLUMNS))


def test_rollups_dropped_and_rebuilt_are_identical(books):
    history(books)
    before = rollups()
    UsageRollup.objects.all().delete()
    assert ledger.rebuild_rollups() == Rebuilt(buckets=len(before), corrected=len(before), removed=0)
    assert rollups() == before
    assert ledger.rebuild_rollups() == Rebuilt(buckets=len(before), corrected=0, removed=0)


@pytest.mark.parametrize("column", COLUMNS[6:])
def test_any_figure_that_is_off_is_put_right(books, column):
    history(books)
    before = rollups()
    rollup = UsageRollup.objects.filter(organization_id=books.hold().organization_id).first()
    UsageRollup.objects.filter(pk=rollup.pk).update(**{column: 12345})
    assert ledger.rebuild_rollups().corrected == 1
    assert rollups() == before


def test_a_bucket_that_should_not_be_is_removed(books):
    history(books)
    before = rollups()
    rollup = UsageRollup.objects.first()
    rollup.pk, rollup.model = None, "of nobody"
    rollup.save()
    assert ledger.rebuild_rollups() == Rebuilt(buckets=len(before), corrected=0, removed=1)
    assert rollups() == before


def test_what_is_not_posted_yet_stays_so_and_is_posted_once(books):
    history(books)
    end(books, hold := write(books), settled(hold, 7))
    before = rollups()
    assert ledger.rebuild_rollups().corrected == 0
    assert rollups() == before
    assert ledger.post_settled() == 1
    assert ledger.rebuild_rollups().corrected == 0


def test_since_begins_with_its_hour_and_leaves_what_was_before(books):
    history(books)
    before = rollups()
    UsageRollup.objects.filter(organization_id=books.hold().organization_id).delete()
    since = datetime.now(UTC) - timedelta(hours=3)
    start = since.replace(minute=0, second=0, microsecond=0)
    ledger.rebuild_rollups(since)
    assert [row for row in rollups() if row[0] >= start] == [row for row in before if row[0] >= start]
    assert len(before) - len(rollups()) == 1
    ledger.rebuild_rollups()
    assert rollups() == before


def test_a_rebuild_waits_for_a_posting_under_way_and_counts_it_once(books):
    end(books, hold := write(books), settled(hold, 7))
    rebuilt = []
    with psycopg.connect(books.url) as posting:
        posting.execute("SELECT billing_post_settled(10)")

        def rebuild_meanwhile():
            with psycopg.connect(books.url, autocommit=True, application_name="rebuilding") as connection:
                rebuilt.append(rebuild(connection))

        thread = threading.Thread(target=rebuild_meanwhile)
        thread.start()
        waits = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'rebuilding' AND wait_event_type = 'Lock'"
        deadline = time.monotonic() + 10
        while not books.execute(waits).fetchone():
            assert time.monotonic() < deadline
            time.sleep(0.005)
    thread.join(10)
    assert rebuilt[0][1:] == (0, 0)
    assert UsageRollup.objects.get(organization_id=hold.organization_id).cost_nano_usd == 7


def test_rebuilding_while_records_end_and_are_posted_loses_and_doubles_nothing(books):
    stop, posted = threading.Event(), []

    def keep_posting():
        with psycopg.connect(books.url, autocommit=True) as connection:
            while not stop.is_set():
                posted.append(connection.execute("SELECT billing_post_settled(7)").fetchone()[0])

    posters = [threading.Thread(target=keep_posting) for _ in range(2)]
    for poster in posters:
        poster.start()
    try:
        for number in range(150):
            end(books, hold := write(books), settled(hold, number))
            if number % 5 == 0:
                ledger.rebuild_rollups()
    finally:
        stop.set()
        for poster in posters:
            poster.join(10)
    ledger.post_settled()
    mine = UsageRollup.objects.filter(organization_id=books.hold().organization_id)
    assert sum(mine.values_list("cost_nano_usd", flat=True)) == sum(range(150))
    assert sum(mine.values_list("requests", flat=True)) == 150
    assert sum(posted)
    assert ledger.rebuild_rollups().corrected == 0


def test_an_adjustment_is_posted_in_the_hour_in_which_it_came_and_booked_as_one(books):
    history(books)
    mine = LedgerEntry.objects.filter(organization_id=books.hold().organization_id)
    booked = list(mine.filter(kind="adjustment").order_by("account").values_list("account", "amount_nano_usd", "hour"))
    this_hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    assert booked == [("organization", -30, this_hour), ("revenue", 30, this_hour)]
    charged = sum(mine.filter(account="revenue").values_list("amount_nano_usd", flat=True))
    rolled = UsageRollup.objects.filter(organization_id=books.hold().organization_id)
    assert charged == sum(rolled.values_list("charged_nano_usd", flat=True)) == 105 + 103 + 103 + 100 + 80


MILLION = """
INSERT INTO billing_usagerecord (
    id, state, usage_source, organization_id, project_id, api_key_id, process_id, endpoint, model, upstream_id,
    upstream, upstream_model, price_id, stream, asked_service_tier, client_request_id, retry_count,
    request_bytes, status, response_id, served_model, service_tier, upstream_request_id, input_tokens,
    cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens, delta_events, tool_calls,
    reported_usage, hold_nano_usd, hold_tokens, is_bound, window_ids, held_as, held_amounts, cost_nano_usd,
    charged_nano_usd, overage_nano_usd, lines, flags, created_at, ended_at, first_byte_ms, latency_ms)
SELECT request_id, CASE WHEN n %% 50 = 0 THEN 'void' ELSE 'settled' END, 'reported', %(organization)s,
    %(project)s, keys[1 + n %% 40], %(project)s, 'responses', (ARRAY['gpt-5', 'gpt-5-mini', 'o3-pro'])[1 + n %%
    3], %(project)s, 'openai', 'gpt-5', NULL, true, '', '', 0, 400, 200, 'resp_' || n, 'gpt-5', 'default', '', n
    %% 5000, n %% 1000, 0, n %% 700, n %% 300, 9, '{}', '{"input_tokens": 1000, "output_tokens": 100}', 5000000,
    5000, false, '{}', '{}', '{}', cost, cost, 0,
    '[{"kind": "input", "quantity": 1000, "price_pico_usd": 1250000}]', '{}', admitted, admitted + '5 s', 120,
    900
FROM generate_series(1, %(count)s) n
CROSS JOIN LATERAL (SELECT now() - n * interval '2.5 s' AS admitted,
    CASE WHEN n %% 50 = 0 THEN 0 ELSE n %% 100000 END AS cost, %(keys)s::uuid[] AS keys) made
CROSS JOIN LATERAL (SELECT overlay(billing_first_id_of(admitted)::text PLACING substr(md5(n::text)::uuid::text, 15)
    FROM 15)::uuid AS request_id) id
"""


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_million_records_are_rebuilt_in_at_most_a_minute(books, capsys):
    """In a transaction that is undone: a month of one organization, 40 keys and 3 models."""
    owner = books.hold()
    project = Project.objects.get(pk=owner.project_id)
    keys = [APIKey.objects.issue(project=project, name=str(number))[0].pk for number in range(40)]
    ids = {"organization": owner.organization_id, "project": owner.project_id, "keys": keys, "count": 1_000_000}
    sums = "SELECT md5(string_agg(r::text, '' ORDER BY r)) FROM (SELECT {} FROM billing_usagerollup) r".format(
        ", ".join(COLUMNS)
    )
    with psycopg.connect(books.url) as connection:
        connection.execute(MILLION, ids)
        buckets, corrected, removed = rebuilt = rebuild(connection)
        assert corrected > 80_000
        before = connection.execute(sums).fetchone()
        connection.execute("DELETE FROM billing_usagerollup")
        began = time.monotonic()
        assert rebuild(connection) == (buckets, buckets, 0)
        seconds = time.monotonic() - began
        assert connection.execute(sums).fetchone() == before
        assert rebuild(connection) == (buckets, 0, 0)
        connection.rollback()
    with capsys.disabled():
        sys.stdout.write(f"\n1,000,000 records into {buckets:,} buckets in {seconds:.1f} s\n")
    assert removed == 0, rebuilt
    assert seconds <= 60


def rebuild(connection):
    return connection.execute("SELECT * FROM billing_rebuild_rollups('-infinity')").fetchone()
