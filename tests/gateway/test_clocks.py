"""F20: a replica whose clock is off by an hour admits, bills and files as the others do."""

from datetime import timedelta

import pytest
from django.utils import timezone

from billing.models import Price, token_price_columns
from billing.prices.pricing import TokenPrice
from billing.prices.tokens import TokenUsage
from gateway.models import Upstream
from tests.gateway_process import GatewayProcess
from tests.quotas import set_quota, window_of
from tests.tenants import PRICE, Tenant, add_model, expected_cost, until

HALF_AN_HOUR = timedelta(minutes=30)
MODEL = "sim-usage-1000-200-100-50-20.joined-3"
SHIFT = """
import time

_true = time.time
time.time = lambda: _true() + {seconds}
"""


@pytest.fixture(scope="module", params=[3600, -3600], ids=["fast", "slow"])
def replica(catalog, tmp_path_factory, request):
    """A gateway whose clock is off."""
    folder = tmp_path_factory.mktemp("clock")
    (folder / "sitecustomize.py").write_text(SHIFT.format(seconds=request.param))
    bounds = {"PYTHONPATH": str(folder), "SPOOL_DIR": str(folder / "spool"), "TOLLGATE_KEY_USE_FLUSH_SECONDS": "0.1"}
    with GatewayProcess(folder / "gateway", **bounds) as process:
        yield process


def times(price, factor):
    return TokenPrice(*(getattr(price, kind) * factor for kind in ("input", "cached_input", "cache_write", "output")))


def test_it_bills_and_files_by_the_databases_clock(replica, acme):
    now = timezone.now()
    add_model(MODEL, Upstream.objects.get(name="simulator"))
    for moment, factor in ((now - HALF_AN_HOUR, 2), (now + HALF_AN_HOUR, 3)):
        Price.objects.create(model=MODEL, effective_from=moment, **token_price_columns(times(PRICE, factor)))
    quota = set_quota("cost", 10**12, organization=acme.organization, period="day")
    for url in (acme.url, replica.url):
        acme.url = url
        record = acme.record(acme.ask(MODEL).headers["x-request-id"])
        assert record.cost_nano_usd == expected_cost(TokenUsage(1000, 200, 100, 50, 20), times(PRICE, 2))
        assert abs(record.created_at - timezone.now()) < timedelta(minutes=1)
        assert abs((record.id.int >> 80) / 1000 - timezone.now().timestamp()) < 60
    window = window_of(quota)
    assert (quota.windows.count(), window.posted, window.held) == (1, 2 * record.cost_nano_usd, 0)
    Price.objects.filter(model=MODEL).delete()


def test_it_takes_keys_until_they_expire(replica, acme):
    now = timezone.now()
    for moment, status in ((now + HALF_AN_HOUR, 200), (now - HALF_AN_HOUR, 401)):
        tenant = Tenant.make("expiring", replica.url, expires_at=moment)
        assert tenant.ask("sim-ok").status_code == status


def test_it_says_when_a_key_was_used(replica, committed):
    tenant = Tenant.make("used", replica.url)
    tenant.ask("sim-ok")

    def last_used():
        tenant.key.refresh_from_db()
        return tenant.key.last_used_at

    assert abs(until(last_used) - timezone.now()) < timedelta(minutes=1)
