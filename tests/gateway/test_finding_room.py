"""How a request finds room under hard quotas: what is injected, what is held, and when it is refused.

Through a gateway and the simulator where a client or an upstream can tell; else candidates and a real meter.
"""

import hashlib
import json

import pytest

from billing.metering.refusals import QuotaExceeded
from billing.models import Hold
from billing.prices.pricing import PriceSheet
from gateway.admission import admit
from gateway.wire.request import with_fields
from tests.gateway.candidates import candidate_of
from tests.quotas import set_quota, window_of
from tests.tenants import PRICE, until

SHEET = PriceSheet(PRICE)
OUTPUT = PRICE.output // 1000  # nano-USD a token
SEARCH = {"type": "web_search"}
RESPONSES, COUNT = "/v1/responses", "/v1/responses/input_tokens"  # where the upstream is asked
FUNCTION = {"type": "function", "name": "f", "parameters": {}}


def body_of(model="sim-ok", **fields):
    return json.dumps({"model": model, "input": "Hello there", **fields}).encode()


class Asked:
    """A request through the gateway: what the upstream got, beside what the client sent."""

    def __init__(self, tenant, upstream, body):
        self.body = body
        self.answer = tenant.post(body, headers={"Content-Type": "application/json"})
        self.id = self.answer.headers["x-request-id"]
        self._upstream = upstream
        self._tenant = tenant

    @property
    def record(self):
        return self._tenant.record(self.id)

    @property
    def error(self):
        return self.answer.json()["error"]

    def is_sent_with(self, fields):
        """Whether the upstream got the client's bytes with these fields set, and nothing else changed."""
        (sent,) = (line["body_sha256"] for line in self._arrived() if line["path"] == RESPONSES)
        return sent == hashlib.sha256(with_fields(self.body, fields) if fields else self.body).hexdigest()

    def paths(self):
        """Where upstream it was sent."""
        return [line["path"] for line in self._arrived()]

    def _arrived(self):
        return [line for line in self._upstream.lines_of(self.id) if line["kind"] == "arrived"]


@pytest.fixture
def ask(acme, upstream):
    return lambda *args, **fields: Asked(acme, upstream, body_of(*args, **fields))


def cost_quota(tenant, limit, **fields):
    return set_quota("cost", limit, organization=tenant.organization, **fields)


def hold_of(body, output):
    """The hold of a request with so much output, unless it states another."""
    return candidate_of(body, SHEET, model_cap=output).unlimited().admitted.hold


def cost_of_input(body):
    """Nano-USD of all but the output."""
    return hold_of(body, 1).hold_nano_usd - OUTPUT


# Where nothing is enforced


@pytest.mark.parametrize("fields", [{}, {"tools": [SEARCH]}, {"max_output_tokens": 20, "tools": [FUNCTION]}])
def test_without_a_hard_quota_not_a_byte_is_changed(acme, ask, fields):
    cost_quota(acme, 1, is_hard=False)
    set_quota("requests", 10, project=acme.project)
    asked = ask(**fields)
    assert asked.answer.status_code == 200
    assert asked.is_sent_with({})
    assert asked.record.hold_nano_usd > 0
    assert not asked.record.is_bound


# What is injected


@pytest.mark.parametrize("metric", ["cost", "tokens"])
@pytest.mark.parametrize(
    ("fields", "injected"),
    [
        ({}, {"max_output_tokens": 16_384}),
        ({"max_output_tokens": None, "tools": [FUNCTION]}, {"max_output_tokens": 16_384}),
        ({"tools": [SEARCH]}, {"max_tool_calls": 8, "max_output_tokens": 16_384}),
        ({"tools": [SEARCH], "max_output_tokens": 100}, {"max_tool_calls": 8}),
        ({"tools": [SEARCH], "max_tool_calls": 20, "max_output_tokens": 100_000}, {}),
        ({"max_output_tokens": 16}, {}),
        ({"max_tool_calls": 3, "max_output_tokens": 255, "service_tier": "flex"}, {}),
    ],
)
def test_a_limit_that_the_client_does_not_state_is_injected_and_one_that_it_states_is_not_changed(
    acme, ask, metric, fields, injected
):
    quota = set_quota(metric, 10**12, organization=acme.organization)
    asked = ask(**fields)
    assert asked.answer.status_code == 200
    assert asked.is_sent_with(injected)
    assert asked.paths() == [RESPONSES]
    hold = hold_of(asked.body, 16_384)
    assert (asked.record.hold_nano_usd, asked.record.hold_tokens) == (hold.hold_nano_usd, hold.hold_tokens)
    assert asked.record.is_bound == (metric == "cost")
    assert window_of(quota).held == 0


# What is left decides


BODY = body_of(max_output_tokens=1000)
NEED = hold_of(BODY, 0).hold_nano_usd
COUNTED = 3 * PRICE.cache_write // 1000 + 1 + 1000 * OUTPUT  # "Hello there", by the simulator


@pytest.mark.parametrize(
    ("limit", "status", "paths"),
    [
        (NEED, 200, [RESPONSES]), (NEED - 1, 200, [COUNT, RESPONSES]), (COUNTED, 200, [COUNT, RESPONSES]),
        (COUNTED - 1, 429, [COUNT]),
    ],
)  # fmt: skip
def test_stated_output_is_admitted_as_long_as_it_fits_to_the_nano(acme, upstream, limit, status, paths):
    quota = cost_quota(acme, limit)
    asked = Asked(acme, upstream, BODY)
    assert (asked.answer.status_code, asked.paths()) == (status, paths)
    if status == 200:
        assert asked.is_sent_with({})
        assert window_of(quota).posted == asked.record.cost_nano_usd
    else:
        assert asked.error["code"] == "insufficient_quota"
        assert acme.records() == []
        assert not Hold.objects.filter(organization=acme.organization).exists()
    assert window_of(quota).held == 0


@pytest.mark.parametrize("output", [256, 700, 16_383])
def test_output_is_clamped_to_half_of_what_money_is_left(acme, ask, output):
    fixed = cost_of_input(body_of())
    limit = fixed + 2 * output * OUTPUT
    cost_quota(acme, min(limit, hold_of(body_of(), 16_384).hold_nano_usd - 1))
    asked = ask()
    injected = min(output, 16_383 // 2)
    assert asked.answer.status_code == 200
    assert asked.is_sent_with({"max_output_tokens": injected})
    assert asked.paths() == [RESPONSES]
    assert asked.record.hold_nano_usd == fixed + injected * OUTPUT


@pytest.mark.parametrize(("money", "tokens", "output"), [(2_000, 3_000, 1_000), (5_000, 3_000, 1_500)])
def test_the_tighter_of_money_and_tokens_decides(acme, ask, money, tokens, output):
    cost_quota(acme, cost_of_input(body_of()) + money * OUTPUT)
    set_quota("tokens", hold_of(body_of(), tokens).hold_tokens, api_key=acme.key)
    asked = ask()
    assert asked.answer.status_code == 200
    assert asked.is_sent_with({"max_output_tokens": output})


def test_what_would_be_under_256_is_refused_and_nothing_is_held(acme, ask):
    quota = cost_quota(acme, 510 * OUTPUT)  # half of it, beside an input that costs next to nothing
    asked = ask()
    assert (asked.answer.status_code, asked.error["code"]) == (429, "insufficient_quota")
    assert (window_of(quota).posted, window_of(quota).held) == (0, 0)
    assert acme.records() == []
    assert not Hold.objects.filter(organization=acme.organization).exists()
    assert RESPONSES not in asked.paths()


def test_a_clients_own_limit_under_256_is_fine(acme, ask):
    cost_quota(acme, hold_of(body_of(max_output_tokens=100), 0).hold_nano_usd)
    asked = ask(max_output_tokens=100)
    assert asked.answer.status_code == 200
    assert asked.is_sent_with({})


# The upstream's count


LONG = "word " * 4_000  # 20,000 bytes, of which the simulator makes 5,000 tokens


@pytest.mark.parametrize(("fields", "injected"), [({}, 500), ({"max_output_tokens": 1000}, None)])
def test_an_exact_count_makes_room(acme, ask, fields, injected):
    tokens = len(LONG) // 4
    quota = set_quota("tokens", tokens + 1000, organization=acme.organization)
    asked = ask(input=LONG, **fields)
    assert asked.answer.status_code == 200
    assert asked.paths() == [COUNT, RESPONSES]
    assert asked.is_sent_with({"max_output_tokens": injected} if injected else {})
    assert asked.record.hold_tokens == tokens + (injected or 1000)
    assert window_of(quota).posted == asked.record.input_tokens + asked.record.output_tokens


def test_a_count_that_shows_too_little_room_is_a_refusal(acme, ask):
    set_quota("tokens", len(LONG) // 4 + 511, organization=acme.organization)
    asked = ask(input=LONG)
    assert (asked.answer.status_code, asked.paths()) == (429, [COUNT])


def test_where_the_upstream_cannot_count_the_request_is_refused(acme, ask):
    quota = set_quota("tokens", len(LONG) // 4 + 1000, organization=acme.organization)
    asked = ask("sim-status-500", input=LONG)
    assert (asked.answer.status_code, asked.error["code"]) == (429, "insufficient_quota")
    assert asked.paths() == [COUNT]
    assert window_of(quota).held == 0


def test_what_a_count_cannot_settle_is_not_counted(acme, ask):
    set_quota("tokens", 1000, organization=acme.organization)
    asked = ask(tools=[{"type": "mcp", "server_label": "docs", "server_url": "https://example.com/mcp"}])
    assert (asked.answer.status_code, asked.paths()) == (429, [])


# What no clamp and no count can help


def test_a_quota_of_requests_refuses_at_once(acme, ask):
    set_quota("requests", 1, organization=acme.organization)
    set_quota("tokens", 10**6, project=acme.project)
    assert ask(input=LONG).answer.status_code == 200
    asked = ask(input=LONG)
    assert (asked.answer.status_code, asked.paths()) == (429, [])
    assert "requests quota" in asked.error["message"]


# What is known of the key may be a moment old


@pytest.fixture
def owner(books):
    """The ids of the owner of the books."""
    books.add_organization()
    hold = books.hold()
    return {name: getattr(hold, name) for name in ("organization_id", "project_id", "api_key_id")}


class Count:
    """An upstream's count, and how often it was asked for."""

    def __init__(self, tokens=None):
        self.tokens = tokens
        self.asked = 0

    async def __call__(self):
        self.asked += 1
        return self.tokens


async def test_a_quota_that_was_not_known_of_clamps_all_the_same(books, owner, meter):
    body = body_of(tools=[SEARCH])
    fixed = cost_of_input(body)
    quota, count = books.set_quota("cost", fixed + 2 * 600 * OUTPUT), Count()
    offer = await admit(candidate_of(body, SHEET, owner=owner), False, meter.hold, count)
    assert offer.fields == {"max_tool_calls": 8, "max_output_tokens": 600}
    assert books.window(quota) == (0, fixed + 600 * OUTPUT)
    assert count.asked == 0


async def test_a_quota_that_was_not_known_of_bounds_what_it_admits(books, owner, meter):
    """Nothing was injected, and what is held is still the most that the request may cost."""
    body, in_all = body_of(), 0
    quota = books.set_quota("cost", 10**14)
    for cap, most in ((128_000, 128_000), (0, 400_000)):  # of a model that nobody knows the most of: its window
        offer = await admit(candidate_of(body, SHEET, model_cap=cap, owner=owner), False, meter.hold, Count())
        assert offer.fields == {}
        in_all += hold_of(body, most).hold_nano_usd
        assert books.window(quota) == (0, in_all)


async def test_a_quota_that_is_gone_still_injects(books, owner, meter):
    offer = await admit(candidate_of(body_of(), SHEET, owner=owner), True, meter.hold, Count())
    assert offer.fields == {"max_output_tokens": 16_384}
    assert not books.open(offer.admitted.hold)["is_bound"]


async def test_who_takes_the_room_between_two_tries_makes_the_upstream_count(books, owner, meter):
    """The clamped hold is refused too: then the input is counted, once, and what is left by then decides."""
    body = body_of(input=LONG)
    quota = books.set_quota("tokens", len(LONG) + 3_000)
    count, tries = Count(5_000), []

    async def hold(wanted):
        tries.append(wanted.hold_tokens)
        if len(tries) == 2:  # another one's request
            await meter.hold(books.hold(hold_tokens=2_500, price_id=None))
        await meter.hold(wanted)

    offer = await admit(candidate_of(body, SHEET, owner=owner), True, hold, count)
    assert (len(tries), count.asked) == (3, 1)
    assert offer.fields["max_output_tokens"] == (len(LONG) + 500 - 5_000) // 2
    assert books.window(quota) == (0, 2_500 + offer.admitted.hold.hold_tokens)


async def test_a_refusal_after_the_count_holds_nothing(books, owner, meter):
    quota = books.set_quota("tokens", 5_600)
    count, tries = Count(5_000), []
    candidate = candidate_of(body_of(input=LONG, max_output_tokens=601), SHEET, owner=owner)

    async def hold(wanted):
        tries.append(wanted.hold_tokens)
        await meter.hold(wanted)

    with pytest.raises(QuotaExceeded) as refused:
        await admit(candidate, True, hold, count)
    assert (len(tries), tries[-1]) == (2, 5_601)  # what it states is not to be clamped: no try is made for that
    assert (refused.value.lacking[0].needed, refused.value.left("tokens"), count.asked) == (5_601, 5_600, 1)
    assert books.window(quota) == (0, 0)


def test_a_quota_set_while_a_key_is_in_use_is_soon_known(acme, ask):
    assert ask().is_sent_with({})
    cost_quota(acme, 10**12)
    until(lambda: ask().is_sent_with({"max_output_tokens": 16_384}))
