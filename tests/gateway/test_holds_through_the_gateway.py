"""Made requests through a gateway under hard quotas: what exceeds the hold is booked as overage, and no one pays it."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import httpx
import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families
from psycopg.rows import dict_row

from billing.models import Price
from gateway.models import Model, Route, Upstream
from gateway.wire.references import Kind
from gateway.wire.request import with_fields, with_model
from gateway.wire.survey import survey
from tests import plane_database
from tests.billing.tenancy import BREACHES
from tests.faults.books import assert_books_balance, records_of
from tests.gateway.bills import bill, sheet_of
from tests.gateway.candidates import candidate_of
from tests.gateway.requests_made import Made, made
from tests.gateway.upstream_model import Used
from tests.quotas import set_quota, window_of

EACH = 30
# Seeds of requests whose tools make the model read so much more than is expected that they cost more than is held.
COST_TOO_MUCH = (328, 452, 840, 995, 1047, 1227, 2240, 2407)

pytestmark = pytest.mark.slow


@dataclass
class Asked:
    """A request, and what the simulator is going to report for it, by the model's name."""

    request: Made
    model: str
    body: bytes
    fields: dict  # that are injected
    used: Used
    cost: int
    status: int = 0
    request_id: str = ""


def asked(seed, upstream_tools):
    """None where the gateway would refuse it for what it names, or the upstream for its length."""
    request = made(seed, upstream_tools=upstream_tools)
    body = with_model(request.body, "sim-usage")  # a model whose images cost what nobody knows
    if any(each.kind is not Kind.CARRIED for each in survey(json.loads(body)).references):
        return None
    terms = {"context_window": request.context_window, "model_cap": request.model_cap}
    fields = candidate_of(body, sheet_of(seed), **terms).limited().fields
    request.fields = json.loads(with_fields(body, fields))
    used = request.used()
    calls = {kind: number for kind, number in used.calls.items() if kind == "web_search_call"}  # it knows no others
    used = replace(used, calls=calls)
    model = f"sim-tier-{used.served_tier}.{used.simulated_model.removeprefix('sim-')}"
    cost = bill(request, used, used.served_tier, sheet_of(seed)).cost_nano_usd
    return Asked(request, model, with_model(body, model), fields, used, cost) if used.input else None


@pytest.fixture
def requests(catalog, committed):
    """By tools or none; each model has the window of what was made, and one of the sheets."""
    found = {}
    for seed in [*COST_TOO_MUCH, *range(1000)]:
        for upstream_tools in (False, True):
            of_kind = [one for one in found.values() if one.request.asks_upstream_tools == upstream_tools]
            if len(of_kind) < EACH and (one := asked(seed, upstream_tools)) is not None:
                found[one.model] = one
                add(one, sheet_of(seed))
        if len(found) == 2 * EACH:
            break
    yield list(found.values())
    Model.objects.filter(name__in=found).delete()
    Price.objects.filter(model__in=found).delete()


def add(one, sheet):
    model = Model.objects.create(
        name=one.model, context_window=one.request.context_window, max_output_tokens=one.request.model_cap
    )
    Route.objects.create(model=model, upstream=Upstream.objects.get(name="simulator"))
    Price.objects.enter(one.model, datetime(2026, 1, 1, tzinfo=UTC), sheet)


def ask_all(tenant, requests):
    def ask(one):
        answer = tenant.post(one.body, headers={"Content-Type": "application/json"})
        one.status, one.request_id = answer.status_code, answer.headers["x-request-id"]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, requests))


def breaches(organization):
    with psycopg.connect(plane_database.url(), row_factory=dict_row) as connection:
        found = {name: connection.execute(query, {"organizations": [organization.id]}).fetchall()
                 for name, query in BREACHES.items()}  # fmt: skip
    return {name: rows for name, rows in found.items() if rows}


def alarms(gateway):
    """How many requests cost more than was held."""
    text = httpx.get(f"{gateway.origin}/metrics", headers={"Authorization": "Bearer metrics"}).text
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    name, labels = "tollgate_alarms_total", {"reason": "above_hold"}
    return sum(sample.value for sample in samples if (sample.name, sample.labels) == (name, labels))


def test_what_exceeds_the_hold_is_overage_and_nobody_pays_it(gateway, requests, acme, upstream, record_property):
    before = alarms(gateway)
    money = set_quota("cost", 10**14, organization=acme.organization, period="month")
    tokens = set_quota("tokens", 10**12, project=acme.project)
    ask_all(acme, requests)
    records = {str(record.id): record for record in records_of(acme)}
    assert len(records) == len(requests) == 2 * EACH
    over = []
    for one in requests:
        record = records[one.request_id]
        sent = upstream.arrived(one.request_id)["body_sha256"]
        assert sent == hashlib.sha256(with_fields(one.body, one.fields)).hexdigest()
        assert (one.status, record.state, record.usage_source) == (200, "settled", "reported")
        assert (record.input_tokens, record.output_tokens) == (one.used.input, one.used.output)
        assert (record.service_tier, record.cost_nano_usd) == (one.used.served_tier, one.cost)
        assert record.is_bound
        assert record.charged_nano_usd == min(one.cost, record.hold_nano_usd)
        assert record.overage_nano_usd == one.cost - record.charged_nano_usd
        assert ("overage" in record.flags) == (record.overage_nano_usd > 0)
        assert ("tokens_over_hold" in record.flags) == (one.used.input + one.used.output > record.hold_tokens)
        if record.overage_nano_usd:
            over.append(one)
    assert len(over) >= len(COST_TOO_MUCH)
    assert all(one.request.asks_upstream_tools for one in over)
    assert alarms(gateway) - before == len(over)
    assert all((f"record {one.request_id}: above_hold" in gateway.log) == (one in over) for one in requests)
    charged = sum(record.charged_nano_usd for record in records.values())
    overage = sum(record.overage_nano_usd for record in records.values())
    record_property(
        "figures", f"{len(records)} requests charged ${charged / 1e9:.2f}; overage ${overage / 1e9:.2f} in {len(over)}"
    )
    assert (window_of(money).posted, window_of(money).held) == (charged, 0)
    kept = sum(min(record.input_tokens + record.output_tokens, record.hold_tokens) for record in records.values())
    assert (window_of(tokens).posted, window_of(tokens).held) == (kept, 0)
    assert_books_balance(acme)
    assert breaches(acme.organization) == {}
