"""The hold in money: made requests are admitted under a hard quota, answered by the model of an upstream and billed.

Without tools that run upstream none may cost more than was held for it, whatever tier served it and however its tokens
were split; with such tools the bound is a bet, and one in a hundred may.
"""

import json
from collections import Counter
from dataclasses import dataclass, field
from random import Random

import pytest

from billing.metering.refusals import Lacking, QuotaExceeded
from gateway.admission import admit
from gateway.wire.request import with_fields
from tests.gateway.bills import bill, dearest_cost, sheet_of
from tests.gateway.candidates import candidate_of
from tests.gateway.requests_made import made

REQUESTS = 5_000
IN_LONG = 50_000
MANY = pytest.mark.parametrize("requests", [REQUESTS, pytest.param(IN_LONG, marks=pytest.mark.long)])

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@dataclass
class Quota:
    """A hard cost quota's answers, in place of the database's: tests/test_quota_races.py has those."""

    left: float
    tries: int = 0

    async def hold(self, hold):
        self.tries += 1
        if hold.hold_nano_usd > self.left:
            room = Lacking("project", "website", "cost", "month", False, 0, hold.hold_nano_usd, int(self.left), None)
            raise QuotaExceeded((room,))


@dataclass
class Figures:
    """What became of the requests; nano-USD."""

    ways: Counter = field(default_factory=Counter)  # refused, at once (admitted as bound at first), with less
    held: int = 0
    cost: int = 0
    overage: int = 0
    over: list = field(default_factory=list)  # seeds whose request cost more than was held, as it was billed
    over_at_the_dearest: list = field(default_factory=list)  # or would have, in another tier, split otherwise
    over_in_tokens: list = field(default_factory=list)
    read_too_much: list = field(default_factory=list)  # with calls that read more than anybody expects

    @property
    def admitted(self):
        return self.ways["at once"] + self.ways["with less"]

    def __str__(self):
        return (
            f"{self.ways.total():,} requests: {self.ways['at once']:,} admitted at once, {self.ways['with less']:,} "
            f"clamped or counted, {self.ways['refused']:,} refused; held ${self.held / 1e9:,.2f}, cost "
            f"${self.cost / 1e9:,.2f}; overage ${self.overage / 1e9:,.2f} in {len(self.over)} requests "
            f"({len(self.over) / self.admitted:.2%}), in {len(self.over_at_the_dearest)} at the dearest tier and split"
        )


async def admitted(request, body, seed):
    """The offer under which a request is admitted, and by which way; in every second quota there may be too little."""
    sheet, dice = sheet_of(seed), Random(f"room {seed}")
    candidate = candidate_of(body, sheet, context_window=request.context_window, model_cap=request.model_cap)
    first = candidate.limited().admitted.hold.hold_nano_usd
    quota = Quota(float("inf") if seed % 2 else first * dice.uniform(0, 1.1))

    async def count():
        return None if dice.random() < 0.2 else counted(request)

    try:
        offer = await admit(candidate, True, quota.hold, count)
    except QuotaExceeded:
        return None, "refused"
    return offer, "at once" if quota.tries == 1 else "with less"


def counted(request):
    """What the upstream says beforehand of the input; it then reads the same."""
    state = request.random.getstate()
    used = request.used()
    request.random.setstate(state)
    return used.counted


async def figures(upstream_tools, requests):
    found = Figures()
    for seed in range(requests):
        request = made(seed, upstream_tools=upstream_tools)
        with_memory(request, seed)
        body = request.body
        offer, way = await admitted(request, body, seed)
        found.ways[way] += 1
        if offer is not None:
            request.fields = json.loads(with_fields(body, offer.fields))
            answered(request, offer, seed, found)
    return found


def with_memory(request, seed):
    """Every third container has more memory, and costs more."""
    tools = request.fields.get("tools", [])
    for number, tool in enumerate(tools):
        if seed % 3 == 0 and tool["type"] == "code_interpreter":
            tools[number] = {"type": "code_interpreter", "container": {"type": "auto", "memory_limit": "16g"}}


def answered(request, offer, seed, found):
    """The upstream reads what was sent to it."""
    hold, sheet = offer.admitted.hold, sheet_of(seed)
    assert request.fields["max_output_tokens"] > 0
    used = request.used()
    end = bill(request, used, used.served_tier, sheet)
    found.held += hold.hold_nano_usd
    found.cost += end.cost_nano_usd
    found.overage += max(0, end.cost_nano_usd - hold.hold_nano_usd)
    if end.cost_nano_usd > hold.hold_nano_usd:
        found.over.append(seed)
    if dearest_cost(used, end.tool_calls, hold.asked_service_tier, sheet) > hold.hold_nano_usd:
        found.over_at_the_dearest.append(seed)
    if used.input + used.output > hold.hold_tokens:
        found.over_in_tokens.append(seed)
    if used.calls and used.input >= 2 * request.context_window * sum(used.calls.values()):
        found.read_too_much.append(seed)


@MANY
async def test_without_tools_of_the_upstream_no_request_costs_more_than_was_held(requests, record_property):
    found = await figures(False, requests)
    record_property("figures", f"without built-in tools: {found}")
    assert (found.over, found.over_at_the_dearest, found.over_in_tokens, found.overage) == ([], [], [], 0)
    assert min(found.ways[way] for way in ("refused", "at once", "with less")) > requests // 50
    assert 0 < found.cost < found.held


@MANY
async def test_with_such_tools_at_most_one_in_a_hundred_does(requests, record_property):
    found = await figures(True, requests)
    record_property("figures", f"with built-in tools: {found}")
    assert 0 < len(found.over) <= found.admitted // 100
    assert len(found.over_at_the_dearest) <= requests // 100
    assert {*found.over, *found.over_at_the_dearest, *found.over_in_tokens} <= {*found.read_too_much}
    assert found.overage > 0
    assert min(found.ways[way] for way in ("refused", "at once", "with less")) > requests // 50
