"""N3: four gateway processes, 200 requests at once on each, one quota with room for exactly k: k are admitted."""

import asyncio
import json
import random
import re
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal

import pytest

from billing.models import Hold
from billing.prices.pricing import figure
from tests.crowd import Client
from tests.gateway_process import GatewayProcess
from tests.quotas import set_quota, window_of
from tests.tenants import Tenant, until

PROCESSES = 4
REQUESTS = 200  # on each
SEEDS, IN_CI, IN_CI_OF_SIZES = 320, 20, 4
METRICS = ("cost", "tokens", "requests")
LEVELS = ("organization", "project", "api_key")
# The least that any hold of a request takes, for each output token that it asks for: what is less is no room.
LEAST = {"cost": 10_000, "tokens": 1}

pytestmark = pytest.mark.slow


def seeds(in_ci=IN_CI):
    return pytest.mark.parametrize(
        "seed", [pytest.param(seed, marks=pytest.mark.long if seed >= in_ci else ()) for seed in range(SEEDS)]
    )


@pytest.fixture(scope="module")
def gateways(catalog, tmp_path_factory):
    """Four processes with books in common."""
    folder = tmp_path_factory.mktemp("race")
    with ExitStack() as stack:
        bounds = {"SPOOL_DIR": str(folder / "spool"), "TOLLGATE_HOLD_SECONDS": "20"}
        yield [stack.enter_context(GatewayProcess(folder / str(n), **bounds)) for n in range(PROCESSES)]


@pytest.fixture
def tenant(gateways, committed):
    return Tenant.make("crowded", gateways[0].url)


@dataclass
class Race:
    """What one seed decides."""

    k: int
    body: bytes
    output_tokens: int
    spread: float  # seconds over which the requests are sent
    period: str
    dice: random.Random

    @classmethod
    def of(cls, seed):
        dice = random.Random(seed)
        output_tokens = dice.choice([40, 300, 5000])
        return cls(
            k=dice.choice([0, 1, 2, dice.randint(3, 40), dice.randint(40, 200)]),
            body=body_of("word " * dice.randint(1, 30) + "x" * dice.choice([0, 10, 20_000]), output_tokens, dice),
            output_tokens=output_tokens,
            spread=dice.choice([0, 0, 0.01, 0.2]),
            period=dice.choice(["day", "month", "forever"]),
            dice=dice,
        )

    def slack(self, metric):
        """Room that is left beside k requests, and not enough for any."""
        return self.dice.randrange(LEAST[metric] * self.output_tokens) if metric in LEAST else 0


def body_of(text, output_tokens, dice):
    fields = {"model": "sim-hold", "input": text, "max_output_tokens": output_tokens, "stream": dice.random() < 0.5}
    return json.dumps(fields).encode()


class Crowd:
    """Asks all at once, and keeps what was admitted open until it is looked at."""

    def __init__(self, gateways, tenant, upstream):
        self._origins = [gateway.origin for gateway in gateways]
        self._secret = tenant.secret
        self._upstream = upstream
        self._runner = asyncio.Runner()
        self.answers = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._upstream.release()
        self._runner.close()

    def ask(self, bodies, spread=0.0, dice=random):
        """Returns once each is refused or held open upstream: how many are held."""
        return self._runner.run(self._ask(bodies, spread, dice))

    def let_go(self):
        """Returns once all are answered."""
        self._upstream.release()
        self._runner.run(asyncio.wait_for(asyncio.gather(*self._asked), 60))

    async def _ask(self, bodies, spread, dice):
        origins = [self._origins[number % len(self._origins)] for number in range(len(bodies))]
        clients = await asyncio.gather(*map(Client.connect, origins))
        self._asked = [
            asyncio.create_task(self._ask_one(client, body, dice.random() * spread))
            for client, body in zip(clients, bodies, strict=True)
        ]
        async with asyncio.timeout(60):
            while len(self.answers) + (held := self._upstream.held()) < len(bodies):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return held

    async def _ask_one(self, client, body, delay):
        await asyncio.sleep(delay)
        self.answers.append(await client.ask(self._secret, body))

    @property
    def admitted(self):
        return [answer for answer in self.answers if answer.status == 200]

    @property
    def refused(self):
        return [answer for answer in self.answers if answer.status != 200]


def needs_of(gateways, tenant, upstream, body):
    """What is held for such a request, by metric: one is asked, and its record looked at."""
    with Crowd(gateways, tenant, upstream) as crowd:
        crowd.ask([body])
        crowd.let_go()
    record = tenant.record(crowd.answers[0].request_id)
    return {"cost": record.hold_nano_usd, "tokens": record.hold_tokens, "requests": 1}


def amounts_of(records, metric):
    """What these records leave on a quota of that metric."""
    if metric == "cost":
        return sum(record.cost_nano_usd for record in records)
    return sum(record.input_tokens + record.output_tokens for record in records) if metric == "tokens" else len(records)


def assert_books(tenant, upstream, crowd, quotas):
    """Each admitted request went upstream once and has one record, with what it used; nothing is held."""
    until(lambda: not Hold.objects.filter(organization=tenant.organization).exists())
    admitted = {answer.request_id for answer in crowd.admitted}
    records = [record for record in tenant.records() if str(record.id) in admitted]
    asked = {answer.request_id for answer in crowd.answers}
    lines = [line for line in upstream.responses() if line["client_request_id"] in asked]
    used = {line["client_request_id"]: line["usage"] for line in lines}
    assert len(lines) == len(admitted) == len(records)
    assert used.keys() == admitted
    for record in records:
        usage = used[str(record.id)]
        assert (record.state, record.usage_source, record.overage_nano_usd) == ("settled", "reported", 0)
        assert (record.input_tokens, record.output_tokens) == (usage["input_tokens"], usage["output_tokens"])
    for quota in quotas:
        window = window_of(quota)
        assert (window.posted, window.held) == (amounts_of(records, quota.metric), 0)


def needed_of(answer):
    """What the refusal says that the request may need, in the quota's own unit."""
    dollars, plain = re.search(r"may need up to (?:\$([\d.]+)|([\d,]+) \w+)\. ", answer.error["message"]).groups()
    return int(Decimal(dollars) * 10**9) if dollars else int(plain.replace(",", ""))


def assert_refusals(refused, quota, needs, left, name):
    """Each names the quota, what is needed (counted exactly it may be less than `needs`), what is left, the renewal."""
    renews = "It does not renew by itself"
    if quota.period != "forever":
        renews = f"It renews at {window_of(quota).ends_at:%Y-%m-%d %H:%M:%S} UTC."
    period = {"day": "daily ", "month": "monthly ", "forever": ""}[quota.period]
    limit, room = figure(quota.metric, quota.limit_amount), figure(quota.metric, left)
    described = f"the {period}{quota.metric} quota of {quota.level} {name!r} ({limit}) has {room} left"
    for answer in refused:
        error = answer.error
        assert (answer.status, error["type"], error["code"]) == (429, "insufficient_quota", "insufficient_quota")
        assert answer.headers["x-should-retry"] == "false"
        assert described in error["message"]
        assert renews in error["message"]
        assert left < needed_of(answer) <= needs


@seeds()
@pytest.mark.parametrize("metric", METRICS)
def test_exactly_as_many_are_admitted_as_there_is_room_for(gateways, tenant, upstream, metric, seed):
    race = Race.of(seed)
    needs, slack = needs_of(gateways, tenant, upstream, race.body)[metric], race.slack(metric)
    quota = set_quota(metric, race.k * needs + slack, organization=tenant.organization, period=race.period)
    quota.refresh_from_db()
    with Crowd(gateways, tenant, upstream) as crowd:
        assert crowd.ask([race.body] * PROCESSES * REQUESTS, race.spread, race.dice) == race.k
        assert (window_of(quota).posted, window_of(quota).held) == (0, race.k * needs)
        assert_refusals(crowd.refused, quota, needs, slack, tenant.organization.name)
        crowd.let_go()
    assert (len(crowd.admitted), len(crowd.refused)) == (race.k, PROCESSES * REQUESTS - race.k)
    assert_books(tenant, upstream, crowd, [quota])


@seeds()
def test_the_tightest_of_three_levels_decides_and_a_refusal_holds_nothing(gateways, tenant, upstream, seed):
    race = Race.of(seed)
    needs = needs_of(gateways, tenant, upstream, race.body)
    levels = race.dice.sample(LEVELS, 3)  # the first is the tightest
    rooms = [race.k, race.k + 1, race.k + race.dice.choice([2, 50, 2000])]
    quotas, slacks = [], []
    for level, room in zip(levels, rooms, strict=True):
        metric = race.dice.choice(METRICS)
        slacks.append(race.slack(metric))
        owner = {"organization": tenant.organization, "project": tenant.project, "api_key": tenant.key}[level]
        limit = room * needs[metric] + slacks[-1]
        quotas.append(set_quota(metric, limit, period=race.period, **{level: owner}))
        quotas[-1].refresh_from_db()
    names = {
        "organization": tenant.organization.name,
        "project": f"{tenant.organization.name}/{tenant.project.name}",
        "key": f"{tenant.key.name} {tenant.key.hint}",
    }
    with Crowd(gateways, tenant, upstream) as crowd:
        assert crowd.ask([race.body] * PROCESSES * REQUESTS, race.spread, race.dice) == race.k
        for quota in quotas:
            assert (window_of(quota).posted, window_of(quota).held) == (0, race.k * needs[quota.metric])
        tightest = quotas[0]
        assert_refusals(crowd.refused, tightest, needs[tightest.metric], slacks[0], names[tightest.level])
        crowd.let_go()
    assert len(crowd.admitted) == race.k
    assert_books(tenant, upstream, crowd, quotas)


@seeds(IN_CI_OF_SIZES)
def test_requests_of_many_sizes_fill_the_room_and_no_more(gateways, tenant, upstream, seed):
    """While all are open room only shrinks: so no one may be refused who would still fit when all are answered."""
    dice = random.Random(seed)
    limit = dice.choice([50_000_000, 400_000_000])
    quota = set_quota("cost", limit, project=tenant.project)
    bodies = [
        body_of("word " * dice.randint(1, 400), dice.choice([16, 100, 500, 2000]), dice)
        for _ in range(PROCESSES * REQUESTS)
    ]
    with Crowd(gateways, tenant, upstream) as crowd:
        held = crowd.ask(bodies, dice.choice([0, 0.1]), dice)
        holds = list(Hold.objects.filter(organization=tenant.organization))
        left = limit - window_of(quota).held
        assert len(holds) == held
        assert window_of(quota).held == sum(hold.hold_nano_usd for hold in holds) <= limit
        for answer in crowd.refused:
            assert answer.status == 429
            assert needed_of(answer) > left
        crowd.let_go()
    assert 0 < len(crowd.admitted) == held < len(bodies)
    assert_books(tenant, upstream, crowd, [quota])
