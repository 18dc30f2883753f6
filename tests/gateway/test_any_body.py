"""Any body at all: no failure of ours, memory bounded, no hold left, one record for each that was admitted (N21)."""

import asyncio
import os
import time
from collections import Counter

import pytest

from billing.models import Hold
from tests.crowd import ask
from tests.gateway.generated import mutated, schema_driven
from tests.gateway.memory import resident
from tests.tenants import until

AT_ONCE = 32
MOST_GROWTH = 128 * 1024 * 1024
SHORT, LONG = (150, 1_500), (5_000, 50_000)  # schema-driven, mutated


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_any_body_is_answered_without_a_failure(gateway, acme, record_property):
    refused(gateway, acme, SHORT, record_property)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_very_many_bodies_are_answered_without_a_failure(gateway, acme, record_property):
    refused(gateway, acme, LONG, record_property)


def refused(gateway, tenant, counts, record_property):
    seed = int(os.environ.get("SEED", "21"))
    asyncio.run(sent(tenant, schema_driven(seed, 50)))
    before, warm = resident(gateway), len(tenant.records())
    began, statuses = time.monotonic(), Counter()
    for bodies in (schema_driven(seed, counts[0]), mutated(seed, counts[1])):
        statuses += asyncio.run(sent(tenant, bodies))
    rate = sum(counts) / (time.monotonic() - began)
    grown = resident(gateway) - before
    until(lambda: not Hold.objects.filter(organization=tenant.organization).exists())
    record_property("figures", f"seed {seed}: {dict(statuses)}, {rate:.0f}/s, memory +{grown // 2**20} MiB")
    assert not [status for status in statuses if not 200 <= status < 500]
    assert sum(statuses.values()) == sum(counts)
    assert statuses[200] > counts[0] // 10
    assert grown < MOST_GROWTH
    records = tenant.records()[warm:]
    assert {record.state for record in records} <= {"settled", "void"}
    assert sum(record.state == "settled" for record in records) == statuses[200]
    assert "Traceback" not in gateway.log


async def sent(tenant, bodies):
    """How many answers have which status, `AT_ONCE` under way."""
    bodies, statuses = iter(bodies), Counter()

    async def send():
        for body in bodies:
            answer = await ask(tenant.url, tenant.secret, body)
            if not 200 <= answer.status < 500:
                print(answer.status, answer.body, body[:2000])  # noqa: T201 - what to look at
            statuses[answer.status] += 1

    await asyncio.gather(*(send() for _ in range(AT_ONCE)))
    return statuses
