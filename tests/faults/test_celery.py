"""Celery carries no truth: it dies between any two steps, or its broker forgets everything, and nothing is lost."""

import os
import signal
import uuid

import msgspec
import pytest
import redis

from billing.metering.writing import HOLD_EXACTLY
from billing.models import Adjustment, Price, Process, UsageRecord
from billing.prices.pricing import cost, price_lines
from billing.prices.tokens import TokenUsage
from billing.record import kept_lines
from gateway.models import Upstream
from tests import plane_database
from tests.billing.books import Books, settled
from tests.celery_process import CeleryProcess
from tests.faults.books import assert_books_balance, funded
from tests.tenants import PRICE, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

BOUNDS = {
    "TOLLGATE_POSTING_SECONDS": "0.5", "TOLLGATE_HOST_LOOK_SECONDS": "0.5", "TOLLGATE_HOST_SILENT_SECONDS": "1.5",
}  # fmt: skip


@pytest.fixture
def tenant(catalog, committed):
    """One with requests that ended, and with open ones of a host that is gone."""
    return funded("jobs", "http://unused")


@pytest.fixture
def books(tenant):
    books = Books(plane_database.url(), tenant.organization.id, tenant.project.id, tenant.key.id)
    yield books
    books.close()


def lost_holds(books, count):
    """Open requests of a host that is silent."""
    lost = Process.objects.create(id=uuid.uuid4(), host_id=uuid.uuid4())
    upstream = Upstream.objects.get(name="simulator")
    holds = [books.hold(process_id=lost.id, upstream_id=upstream.id, price_id=price_id()) for _ in range(count)]
    write_exactly(books, holds)
    return holds


def ended(books, count):
    holds = [books.hold(price_id=price_id()) for _ in range(count)]
    write_exactly(books, holds)
    lines = price_lines(TokenUsage(input=7, output=3), PRICE)
    books.write([], [settled(hold, cost(lines), lines=kept_lines(lines)) for hold in holds])
    return holds


def price_id():
    return Price.objects.get(model="sim-*").id


def write_exactly(books, holds):
    """Windows are opened where they are missing."""
    batch = msgspec.json.encode(sorted(holds, key=lambda hold: hold.id)).decode()
    books.execute(HOLD_EXACTLY, batch)


def is_posted(holds):
    ids = [hold.id for hold in holds]
    return UsageRecord.objects.filter(id__in=ids).count() == len(ids) and not UsageRecord.objects.unposted().filter(
        id__in=ids).exists()  # fmt: skip


def dies(tmp_path, faults):
    folder = tmp_path / uuid.uuid4().hex
    celery = CeleryProcess(folder, TOLLGATE_FAULTS=faults, **BOUNDS)
    celery.start()
    try:
        until(lambda: celery.process.exit_code() == -signal.SIGKILL, seconds=60)
    finally:
        celery.__exit__()


def test_a_worker_that_dies_between_two_steps_is_only_late(books, tenant, tmp_path):
    """F14: after the posting has committed, and before orphans are ended; the next worker goes on."""
    posted = ended(books, 20)
    dies(tmp_path, "post.after=kill@1")
    assert is_posted(posted)
    orphans, late = lost_holds(books, 20), ended(books, 20)
    dies(tmp_path, "reap.entry=kill@1")
    assert all(books.open(hold) for hold in orphans)
    with CeleryProcess(tmp_path / "last", **BOUNDS):
        until(lambda: is_posted([*orphans, *late]), seconds=30)
    assert {books.record(hold)["usage_source"] for hold in orphans} == {"estimated"}
    assert not Adjustment.objects.filter(organization=tenant.organization).exists()
    assert_books_balance(tenant)


def test_a_broker_that_forgets_everything_makes_it_late_until_the_next_beat(books, tenant, tmp_path):
    """F15."""
    broker = redis.from_url(os.environ["BROKER_URL"].replace("virtual_host=", "db="))
    with CeleryProcess(tmp_path, **BOUNDS):
        for _ in range(5):
            holds, orphans = ended(books, 10), lost_holds(books, 3)
            broker.flushdb()
            until(lambda: is_posted([*holds, *orphans]), seconds=30)  # noqa: B023 - called at once
    broker.close()
    assert_books_balance(tenant)
