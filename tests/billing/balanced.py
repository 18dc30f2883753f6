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
    price = Price.objects.create(
        model="gpt-5", effective_from=datetime(2026, 1, 1, tzinfo=UTC), input_pico_usd=1_250_001,
        cached_input_pico_usd=125_000, cache_write_pico_usd=1_250_000, output_pico_usd=10_000_001,
    )  # fmt: skip
    process = Process.objects.create(id=uuid.uuid4(), host_id=uuid.uuid4())
    owners = [_organization(number) for number in range(ORGANIZATIONS)]
    with connect() as books:
        for day in (1, 0):
            for keys in owners:
                _day_of_requests(books, chance, keys, day, price_id=price.id, process_id=process.id)
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
    for account, sign in (("organization", 1), ("funds", -1)):
        LedgerEntry.objects.create(
            posting_id=posting, kind=kind, account=account, organization=organization, amount_nano_usd=sign * amount,
            reason="for the test",
        )  # fmt: skip


def _day_of_requests(books, chance, keys, days_ago, **fields):
    holds = []
    for _ in range(REQUESTS):
        key = chance.choice(keys)
        made = datetime.now(UTC) - timedelta(days=days_ago)
        holds.append(hold_of(
            id=new_id(int(made.timestamp() * 1000)), organization_id=key.project.organization_id,
            project_id=key.project_id, api_key_id=key.id, hold_nano_usd=chance.randrange(1_000_000, 5_000_000),
            hold_tokens=chance.randrange(200, 1000), **fields,
        ))  # fmt: skip
    holds.sort(key=lambda hold: hold.id)
    _, (_, items) = batch_of(holds, [])
    outcomes = books.execute("SELECT billing_hold_exactly(%s::json)", [items]).fetchone()[0]
    assert {outcome["outcome"] for outcome in outcomes.values()} == {"held"}
    if days_ago:
        books.execute("UPDATE billing_hold SET created_at = created_at - make_interval(days => %s)", [days_ago])
    for number, hold in enumerate(holds):
        for end in _ends(chance, hold, number, stays_open=not days_ago):
            _end(books, end)


def _ends(chance, hold, number, *, stays_open):
    """None where it stays open; two where the truth came after an estimate or a void end."""
    within = {"tokens": hold.hold_tokens // 2, "nano_usd": hold.hold_nano_usd // 2}
    match number % 9:
        case 0 if stays_open:
            return []
        case 0 | 1:
            return [_settled(hold, chance, tokens=hold.hold_tokens + 9, nano_usd=hold.hold_nano_usd * 2)]
        case 2:
            return [_void(hold)]
        case 3:
            return [_void(hold), _settled(hold, chance, **within, usage_source="recovered")]
        case 4:
            less = {"tokens": 30, "nano_usd": 20_000}
            return [_settled(hold, chance, **within, usage_source="estimated"), _settled(hold, chance, **less)]
        case 5:
            return [_settled(hold, chance, **within, usage_source="estimated")]
        case _:
            return [_settled(hold, chance, **within)]


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
    outcomes = books.execute("SELECT billing_end_exactly(%s::json)", [parameters[0]]).fetchone()[0]
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
