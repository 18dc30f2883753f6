"""Requests as candidates for admission, without a gateway: a key, a model with its price, a route, a clock."""

import uuid
from datetime import UTC, datetime

from accounts.authentication import KeyFacts
from billing.prices.price_list import ListedPrice, PriceList
from gateway.addresses import origin_of
from gateway.admission import Allowances, Caller, Candidate, Wanted
from gateway.catalog import Catalog, ModelFacts, RouteFacts, UpstreamFacts
from gateway.wire.request import parse_create
from tests.billing.books import new_id

NOW = datetime(2026, 6, 1, tzinfo=UTC)
PRICE_ID = uuid.UUID(int=7)
ALLOWANCES = Allowances(output_tokens=16_384, tool_calls=8, tool_input_tokens=32_000)  # as shipped
SIMULATED = "http://127.0.0.1:9/v1"
UPSTREAM = UpstreamFacts(uuid.UUID(int=1), "upstream", SIMULATED, origin_of(SIMULATED, allow_private=True), None)


def key_facts(**owner):
    """Of a key of that owner, or of nobody's."""
    ids = {name: owner.get(f"{name}_id") or uuid.uuid4() for name in ("organization", "project", "api_key")}
    return KeyFacts(
        ids["api_key"], "bot", "", ids["project"], "website", ids["organization"], "acme",
    )  # fmt: skip


def candidate_of(body, sheet=None, *, context_window=400_000, model_cap=128_000, owner=None):
    """The candidate that a request's body is, under a model of that name with that price; None: unpriced."""
    call = parse_create(body)
    name = str(call.model)
    prices = [ListedPrice(PRICE_ID, name, datetime(2026, 1, 1, tzinfo=UTC), sheet)] if sheet else []
    model = ModelFacts(name, ("responses",), context_window, model_cap, (RouteFacts(UPSTREAM, ""),))
    caller = Caller(new_id(), NOW, key_facts(**(owner or {})), uuid.uuid4(), "", "")
    return Candidate(caller, Wanted(call, len(body)), Catalog({name: model}, PriceList(prices)), ALLOWANCES)
