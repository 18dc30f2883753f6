"""What a request may cost the gateway, in calls of its event loop (counted.py): a doubled cost is red.

To set a budget anew: run this file, take the figure that it prints, and a quarter more.
"""

import sys

import httpx
import pytest

from tests.bench import counted
from tests.gateway_process import GatewayProcess
from tests.tenants import Tenant

pytestmark = pytest.mark.slow

REQUESTS = 50
BUDGETS = {"JSON": 2_150, "stream of 50 deltas": 3_400}


@pytest.fixture(scope="module")
def counting(catalog, tmp_path_factory):
    """Its bounds are the real ones, so that what it does by itself comes once a second and not ten times."""
    folder = tmp_path_factory.mktemp("counting")
    with GatewayProcess(folder, tenths=False, application="tests.bench.counted:application") as process:
        yield process


@pytest.fixture
def frugal(counting, committed):
    return Tenant.make("frugal", counting.url)


def calls(process):
    return int(httpx.get(process.origin + counted.PATH).text)


def ask(tenant, client, **fields):
    body = {"input": "Tell me a three sentence bedtime story about a unicorn. " * 11, **fields}
    assert client.post(f"{tenant.url}/responses", headers=tenant.headers, json=body).status_code == 200


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("JSON", {"model": "sim-ok"}),
        ("stream of 50 deltas", {"model": "sim-paced-50-0", "stream": True}),
    ],
)
@pytest.mark.usefixtures("upstream")
def test_a_request_stays_within_its_budget(frugal, counting, record_property, kind, fields):
    with httpx.Client() as client:
        for _ in range(5):  # what is looked up once is known then
            ask(frugal, client, **fields)
        before = calls(counting)
        for _ in range(REQUESTS):
            ask(frugal, client, **fields)
        each = (calls(counting) - before) / REQUESTS
    version = ".".join(map(str, sys.version_info[:2]))
    record_property(
        "figures", f"{kind} on Python {version}: {each:,.0f} calls of the gateway, budget {BUDGETS[kind]:,}"
    )
    assert BUDGETS[kind] / 2 < each < BUDGETS[kind]
