"""Books with some of everything in them, made by the product's own SQL functions, in a database of their own.

Twelve organizations, prepaid, each with two projects of two keys and quotas of every metric and level, hard and soft;
one without any quota. Two days of requests: reported, over their hold, estimated, corrected, void, and still open.
"""

import json
import random
import uuid
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import psycopg
from django.db import connection

from accounts.models import APIKey, Organization, Project
from billing.models import LedgerEntry, Price, Process, Quota
from billing.record import Line, Settlement
from tests import plane_database
from tests.billing.books import batch_of, hold_of, new_id

ORGANIZATIONS = 13
REQUESTS = 36  # of an organization and day
DOLLAR = 10**9


@contextmanager
def database(name, template="template1"):
    """A copy of `template` while it lasts; Django's connection is to it."""
    drop = f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"
    connection.close()
    plane_database._on_the_server(drop, f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        with plane_database._connection_to(name):
            yield
    finally:
        plane_database._on_the_server(drop)


def connect():
    """A connection of psycopg's own to where Django's is."""
    parameters = connection.get_connection_params()
    names = ("dbname", "user", "password", "host", "port")
    return psycopg.connect(**{name: parameters[name] for name in names if name in parameters}, autocommit=True)


def make_books(seed=1):
    """Fills the database that Django's connection is to."""
    chance = random.Random(seed)
    Price.objects.create(
        model="gpt-5", effective_from=datetime(2026, 1, 1, tzinfo=UTC), input_pico_usd=1_250_001,
        cached_input_pico_usd=125_000, cache_write_pico_usd=1_250_000, output_pico_usd=10_000_001,
    )  # fmt: skip
    Process.objects.create(id=uuid.uuid4(), host_id=uuid.uuid4())
    owners = [_organization(number) for number in range(ORGANIZATIONS)]
    with connect() as books:
        for day in (1, 0):
            for keys in owners:
                requests(books, chance, keys, day)
            books.execute("SELECT billing_post_settled(200)")
            if day:
                books.execute("SELECT billing_post_settled(100000)")
                _begin_a_new_day(books)
        books.execute("ANALYZE")


def _organization(number):
    """Its four keys."""
    organization = Organization.objects.create(name=f"balanced-{number}")
    keys = []
    for name in ("website", "batch"):
        project = Project.objects.create(organization=organization, name=name)
        keys += [APIKey.objects.issue(project=project, name=f"bot {i}")[0] for i in range(2)]
    if number:
        _quotas(organization, keys)
    return keys


def _quotas(organization, keys):
    def quota(metric, period, limit, **fields):
        return Quota.objects.create(
            organization=organization, metric=metric, period=period, limit_amount=limit, **fields
        )

    _grant(organization, "grant", 3 * DOLLAR)
    _grant(organization, "refund", DOLLAR // 2)
    quota("cost", "forever", 3 * DOLLAR + DOLLAR // 2, is_credit=True)
    quota("cost", "month", 2 * DOLLAR)
    quota("tokens", "forever", 10, is_hard=False)
    for key in keys[::2]:
        quota("tokens", "day", 400_000, project=key.project)
        quota("requests", "month", 5, project=key.project, is_hard=False)
    for key in keys:
        quota("requests", "day", 500, project=key.project, api_key=key)
        quota("cost", "day", 1000, project=key.project, api_key=key, is_hard=False)


def _grant(organization, kind, amount):
    posting = uuid.uuid4()
    LedgerEntry.objects.bulk_create(
        LedgerEntry(
            posting_id=posting, kind=kind, account=account, organization=organization, amount_nano_usd=sign * amount,
            reason="for the test",
        )
        for account, sign in (("organization", 1), ("funds", -1))
    )  # fmt: skip


def requests(books, chance, keys, days_ago=0):
    """REQUESTS of these keys, each ended in one of the ways there are, or left open."""
    (price_id,), (process_id,) = books.execute("SELECT id FROM billing_price UNION ALL SELECT id FROM billing_process")
    holds = []
    for _ in range(REQUESTS):
        key = chance.choice(keys)
        made = datetime.now(UTC) - timedelta(days=days_ago)
        holds.append(hold_of(
            id=new_id(int(made.timestamp() * 1000)), organization_id=key.project.organization_id,
            project_id=key.project_id, api_key_id=key.id, hold_nano_usd=chance.randrange(1_000_000, 5_000_000),
            hold_tokens=chance.randrange(200, 1000), price_id=price_id, process_id=process_id,
        ))  # fmt: skip
    holds.sort(key=lambda hold: hold.id)
    _, (*_, items) = batch_of(holds, [])
    outcomes = books.execute("SELECT billing_hold_exactly(%s::json)", [items]).fetchone()[0]
    assert {outcome["outcome"] for outcome in outcomes.values()} == {"held"}
    if days_ago:
        books.execute("UPDATE billing_hold SET created_at = created_at - make_interval(days => %s)", [days_ago])
    for number, hold in enumerate(holds):
        for end in _ends(chance, hold, number, stays_open=not days_ago):
            _end(books, end)


def _ends(chance, hold, number, *, stays_open):
    """None where it stays open, two where the truth came after an estimate or a void end."""
    within = {"tokens": hold.hold_tokens // 2, "nano_usd": hold.hold_nano_usd // 2}
    less = {"tokens": 30, "nano_usd": 20_000}
    over = _settled(hold, chance, tokens=hold.hold_tokens + 9, nano_usd=hold.hold_nano_usd * 2)
    kinds = {
        0: [] if stays_open else [over],
        1: [over],
        2: [_void(hold)],
        3: [_void(hold), _settled(hold, chance, **within, usage_source="recovered")],
        4: [_settled(hold, chance, **within, usage_source="estimated"), _settled(hold, chance, **less)],
        5: [_settled(hold, chance, **within, usage_source="estimated")],
    }
    return kinds.get(number % 9, [_settled(hold, chance, **within)])


def _settled(hold, chance, *, tokens, nano_usd, usage_source="reported"):
    output = chance.randrange(1, tokens)
    prices = (chance.randrange(1_000_000), 1 + nano_usd * 1000 // output)
    lines = tuple(
        Line(kind, quantity, price, quantity * price)
        for kind, quantity, price in zip(("input", "output"), (tokens - output, output), prices, strict=True)
        if quantity
    )
    return Settlement(
        id=hold.id, state="settled", usage_source=usage_source, status=200, input_tokens=tokens - output,
        output_tokens=output, reasoning_tokens=output // 2, lines=lines,
        cost_nano_usd=(sum(line.amount_pico_usd for line in lines) + 500) // 1000,
    )  # fmt: skip


def _void(hold):
    return Settlement(id=hold.id, state="void", usage_source="none", status=502)


def _end(books, settlement):
    statement, parameters = batch_of([], [settlement])
    if books.execute(statement, parameters).fetchone()[0] == [settlement.id]:
        return
    outcomes = books.execute("SELECT billing_end_exactly(%s::json)", [parameters[1]]).fetchone()[0]
    assert outcomes == {str(settlement.id): "adjusted"}, json.dumps(outcomes)


def _begin_a_new_day(books):
    """As if all that is there was of yesterday: the next request opens windows of the day."""
    books.execute(
        """UPDATE billing_quotawindow w SET starts_at = w.starts_at - interval '1 day',
        ends_at = CASE WHEN q.period = 'day' THEN w.starts_at ELSE w.ends_at END
        FROM billing_quota q WHERE q.id = w.quota_id"""
    )
    books.execute(
        "UPDATE billing_quota q SET window_ends_at = w.ends_at FROM billing_quotawindow w WHERE w.id = q.window_id"
    )


def multiply(books, most):
    """Repeats records that were never adjusted over the hours of a day, until there are `most`; they are unposted."""
    columns = [column.name for column in books.execute("SELECT * FROM billing_usagerecord LIMIT 0").description]
    changed = {
        "id": "(left(replace(r.id::text, '-', ''), 12) || left(md5(r.id::text || n), 20))::uuid",
        "created_at": "least(r.created_at + n % 24 * interval '1 hour', now())",
    }
    chosen = ", ".join(changed.get(column, f"r.{column}") for column in columns)
    books.execute("CREATE TEMP TABLE kept AS SELECT * FROM billing_usagerecord r WHERE NOT EXISTS ("
                  "SELECT FROM billing_adjustment a WHERE a.record_id = r.id)")  # fmt: skip
    books.execute("CREATE TEMP TABLE more AS SELECT 1 + (%s - (SELECT count(*) FROM billing_usagerecord)) / "
                  "(SELECT count(*) FROM kept) AS times", [most])  # fmt: skip
    _raise_limits(books, 10**15)
    books.execute(
        f"""WITH added AS (
            INSERT INTO billing_usagerecord SELECT {chosen} FROM kept r
            CROSS JOIN generate_series(1, (SELECT times FROM more)) AS n RETURNING id)
        INSERT INTO billing_unposted (record_id) SELECT id FROM added"""
    )
    books.execute(
        """UPDATE billing_quotawindow w SET posted = w.posted + used.amount * (SELECT times FROM more) FROM (
            SELECT h.id, sum(billing_posted_amount(h.held_as, h.held, cost_nano_usd, charged_nano_usd,
                input_tokens + output_tokens, (state = 'settled')::int)) AS amount
            FROM kept CROSS JOIN LATERAL unnest(window_ids, held_as, held_amounts) AS h(id, held_as, held)
            GROUP BY h.id) used WHERE used.id = w.id"""
    )


def _raise_limits(books, amount):
    books.execute("UPDATE billing_quotawindow SET limit_amount = limit_amount + %(by)s, ceiling = ceiling + %(by)s",
                  {"by": amount})  # fmt: skip
    books.execute("UPDATE billing_quota SET limit_amount = limit_amount + %s", [amount])
    for organization in Organization.objects.filter(quotas__is_credit=True):
        _grant(organization, "grant", amount)
