"""What is tried before a request is refused, and when that is in vain."""

import json
import uuid
from datetime import UTC, datetime

import pytest

from accounts.authentication import KeyFacts
from billing.metering.refusals import Lacking, QuotaExceeded
from billing.prices.price_list import ListedPrice, PriceList
from billing.prices.pricing import PriceSheet, TokenPrice
from gateway.addresses import origin_of
from gateway.admission import Allowances, Caller, Candidate, Wanted, admit
from gateway.catalog import Catalog, ModelFacts, RouteFacts, UpstreamFacts
from gateway.wire.request import parse_create

NOW = datetime(2026, 11, 1, tzinfo=UTC)
A_MICRODOLLAR = TokenPrice(input=1_000_000, cached_input=1_000_000, cache_write=1_000_000, output=1_000_000)  # a token


def candidate_of(most_output=100_000, **fields):
    """Of a body with 10,000 characters of text; each token costs a thousand nano-USD."""
    body = json.dumps({"model": "m", "input": "x" * 10_000} | fields).encode()
    url = "http://127.0.0.1:9/v1"
    upstream = UpstreamFacts(uuid.uuid4(), "scripted", url, origin_of(url, allow_private=True), None)
    model = ModelFacts("m", ("responses",), 400_000, most_output, (RouteFacts(upstream, ""),))
    price = ListedPrice(uuid.uuid4(), "m", NOW, PriceSheet.of(A_MICRODOLLAR, []))
    key = KeyFacts(
        id=uuid.uuid4(), name="laptop", hint="", project_id=uuid.uuid4(), project="p", organization_id=uuid.uuid4(),
        organization="acme", expires_at=None, revoked_at=None, suspended_at=None,
    )  # fmt: skip
    caller = Caller(uuid.uuid4(), NOW, key, uuid.uuid4(), "", "")
    catalog = Catalog({"m": model}, PriceList([price]))
    return Candidate(caller, Wanted(parse_create(body), len(body)), catalog, Allowances(16_384, 8, 32_000))


class Quotas:
    """Quotas with so much room, and an upstream that counts."""

    def __init__(self, *, tokens=10**9, cost=10**15, count=1_000):
        self._room = {"tokens": tokens, "cost": cost}
        self._count = count
        self.counts = 0

    async def hold(self, hold):
        asked = {"tokens": hold.hold_tokens, "cost": hold.hold_nano_usd}
        lacking = tuple(
            Lacking("organization", "acme", metric, "month", False, room, asked[metric], room, NOW)
            for metric, room in self._room.items()
            if asked[metric] > room
        )
        if lacking:
            raise QuotaExceeded(lacking)

    async def count(self):
        self.counts += 1
        return self._count


@pytest.mark.parametrize("room", [{"tokens": 3_000}, {"cost": 3_000_000}], ids=["tokens", "cost"])
@pytest.mark.parametrize("fields", [{}, {"max_output_tokens": 2_000}], ids=["unstated", "stated"])
async def test_a_request_that_fits_once_it_is_counted_is_admitted(room, fields):
    quotas = Quotas(**room)
    offer = await admit(candidate_of(**fields), True, quotas.hold, quotas.count)
    assert quotas.counts == 1
    assert offer.admitted.hold.hold_tokens <= 3_000


@pytest.mark.parametrize("room", [{"tokens": 0}, {"tokens": 400}, {"cost": 0}, {"cost": 400_000}], ids=str)
@pytest.mark.parametrize("fields", [{}, {"max_output_tokens": 2_000}], ids=["unstated", "stated"])
async def test_where_no_count_could_help_the_upstream_is_not_asked(room, fields):
    quotas = Quotas(**room)
    with pytest.raises(QuotaExceeded):
        await admit(candidate_of(**fields), True, quotas.hold, quotas.count)
    assert quotas.counts == 0


async def test_a_model_that_never_writes_much_is_admitted():
    offer = await admit(candidate_of(most_output=100), True, Quotas().hold, Quotas().count)
    assert offer.fields == {"max_output_tokens": 100}


async def test_an_input_that_is_read_twice_is_held_twice_once_it_is_counted():
    compaction = {"context_management": [{"type": "compaction"}], "max_output_tokens": 1_000}
    quotas = Quotas(tokens=4_000, count=1_400)
    offer = await admit(candidate_of(**compaction), True, quotas.hold, quotas.count)
    assert offer.admitted.hold.hold_tokens == 2 * 1_400 + 1_000
