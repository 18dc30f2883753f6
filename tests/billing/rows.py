"""Usage records as the gateway writes them: through the database's own functions."""

import json
import os
import time
import uuid

import msgspec
from django.db import connection

from billing.metering.request_ids import uuid7
from billing.metering.writing import WRITE
from billing.models import Hold
from billing.prices.pricing import TokenPrice, cost, price_lines
from billing.prices.tokens import TokenUsage
from billing.record import kept_lines

UPSTREAM_ID = uuid.UUID(int=1)
PRICE = TokenPrice(input=1_250_000, cached_input=125_000, cache_write=1_250_001, output=10_000_000)


def request_id():
    return uuid7(int(time.time() * 1000), os.urandom(10))


def held_record(key, *, record_id=None, model="gpt-5", at=None):
    """The id of a pending record of that key; `at`: when it was admitted."""
    record_id = record_id or request_id()
    hold = {
        "id": str(record_id), "organization_id": str(key.project.organization_id), "project_id": str(key.project_id),
        "api_key_id": str(key.id), "process_id": str(uuid.uuid4()), "endpoint": "responses", "model": model,
        "upstream_id": str(UPSTREAM_ID), "upstream": "openai", "upstream_model": model, "price_id": None,
        "stream": True, "asked_service_tier": "", "client_request_id": "", "retry_count": 0,
        "request_bytes": 400, "hold_nano_usd": 5_000_000, "hold_tokens": 5_000, "flags": [],
    }  # fmt: skip
    _call(WRITE, ["{}", "[]", f"{{{record_id}}}", json.dumps([hold])])
    if at:
        Hold.objects.filter(id=record_id).update(created_at=at)
    return record_id


def settle(record_id, usage, **fields):
    """Ends the record as completed, with that usage at PRICE."""
    lines = price_lines(usage, PRICE)
    end = {
        "state": "settled", "usage_source": "reported", "status": 200, "response_id": "resp_1",
        "input_tokens": usage.input, "cached_tokens": usage.cached, "cache_write_tokens": usage.cache_write,
        "output_tokens": usage.output, "reasoning_tokens": usage.reasoning,
        "lines": msgspec.to_builtins(kept_lines(lines)), "cost_nano_usd": cost(lines),
    } | fields  # fmt: skip
    _end(record_id, end)


def void(record_id, status=502):
    _end(record_id, {"state": "void", "usage_source": "none", "status": status})


def settled_record(key, usage=None, *, model="gpt-5", at=None):
    """The id of a record that was held and settled."""
    record_id = held_record(key, model=model, at=at)
    settle(record_id, usage or TokenUsage(input=1000, output=100))
    return record_id


def post(most=1000):
    """How many records the posting took."""
    return _call("SELECT billing_post_settled(%s)", [most])


def _end(record_id, fields):
    end = {
        "id": str(record_id), "response_id": "", "served_model": "", "service_tier": "default",
        "upstream_request_id": "", "input_tokens": 0, "cached_tokens": 0, "cache_write_tokens": 0, "output_tokens": 0,
        "reasoning_tokens": 0, "delta_events": 0, "tool_calls": {}, "reported_usage": None, "cost_nano_usd": 0,
        "lines": [], "flags": [], "first_byte_ms": 120, "latency_ms": 900,
    } | fields  # fmt: skip
    assert _call(WRITE, [f"{{{record_id}}}", json.dumps([end]), "{}", "[]"]) == [record_id]


def _call(statement, parameters):
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchone()[0]
