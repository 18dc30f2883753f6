"""Any story of holds, ends, limits and losses leaves the books as a plain model has them."""

import asyncio
import time
from datetime import UTC, datetime

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from billing import faults
from billing.metering import connection, writing
from billing.metering.lane import Lane
from billing.metering.refusals import QuotaExceeded, Unpriced
from billing.metering.writing import END_EXACTLY, HOLD_EXACTLY, WRITE
from billing.record import void
from tests import plane_database
from tests.billing.books import batch_of, new_id, settled
from tests.billing.money_model import Model, Quota
from tests.billing.tenancy import Tenancy

AMOUNTS = st.integers(0, 40)
LIMITS = st.one_of(st.integers(0, 60), st.integers(0, 400))
QUOTAS = st.tuples(
    st.integers(0, 3), st.sampled_from(["organization", "project", "key"]),
    st.sampled_from(["cost", "cost", "tokens", "requests"]), st.sampled_from(["day", "month", "forever"]),
    st.booleans(), LIMITS,
)  # fmt: skip
LOSSES = st.sampled_from(
    ["", "", "", *(f"metering.{point}=raise@{n}" for point in ("sent", "answered") for n in (1, 2, 3))]
)
RECORDS = """
SELECT r.id, state, r.usage_source, r.cost_nano_usd, r.charged_nano_usd, r.overage_nano_usd,
    a.cost_nano_usd AS more_cost, a.charged_nano_usd AS more_charged, a.overage_nano_usd AS more_overage
FROM billing_usagerecord r LEFT JOIN billing_adjustment a ON a.record_id = r.id WHERE r.organization_id = ANY (%s)
"""
WINDOWS = """
SELECT quota_id, limit_amount, ceiling, posted, held FROM billing_quotawindow WHERE quota_id = ANY (%s)
ORDER BY quota_id, id
"""
END_WINDOW = """
WITH over AS (UPDATE billing_quota SET window_ends_at = now() WHERE id = %s RETURNING window_id)
UPDATE billing_quotawindow SET ends_at = now() WHERE id = (SELECT window_id FROM over)
"""


def zone_where_it_is_noon():
    """No window may end by itself while the test runs."""
    return f"Etc/GMT{datetime.now(UTC).hour - 12:+d}"


class Money(RuleBasedStateMachine):
    url = ""

    def __init__(self):
        super().__init__()
        self.tenancy = Tenancy(self.url)
        zone = zone_where_it_is_noon()
        acme, globex = self.tenancy.owner(time_zone=zone), self.tenancy.owner(time_zone=zone)
        self.owners = [acme, self.tenancy.owner(acme["organization_id"], acme["project_id"]),
                       self.tenancy.owner(acme["organization_id"]), globex]  # fmt: skip
        self.model = Model()
        self.began, self.made = int(time.time() * 1000), 0
        self.ends = []
        self.loop = asyncio.new_event_loop()
        self.lane = Lane(self.url, lambda record_id: None)
        self.loop.run_until_complete(self._start())

    async def _start(self):
        self.lane.start()

    def teardown(self):
        try:
            held = [request.hold for request in self.model.requests.values() if self.model.is_open(request.hold.id)]
            self._send([], [void(hold.id, None) for hold in held], "")
            assert all(window.held == 0 for quota in self.model.quotas for window in quota.windows)
            self.post(100_000)
        finally:
            self.loop.run_until_complete(self.lane.close(5))
            self.loop.close()
            self.tenancy.close()

    # What happens ---------------------------------------------------------------------------------------------------

    @initialize(quotas=st.lists(QUOTAS, max_size=9), tight=st.booleans())
    def begin(self, quotas, tight):
        writing.TIGHT_SECONDS = 1e9 if tight else 0
        self.model.can_be_tight = tight
        for fields in quotas:
            self._set_quota(fields)

    @rule(data=st.data(), loss=LOSSES)
    def send(self, data, loss):
        self._send_some(data, loss)

    @rule(data=st.data())
    def send_more(self, data):
        self._send_some(data, "")

    def _send_some(self, data, loss):
        pending = [request.hold for request in self.model.requests.values() if request.end is None]
        again = data.draw(st.lists(st.sampled_from(pending), max_size=2, unique=True)) if pending else []
        ending = data.draw(st.lists(st.sampled_from(pending), max_size=5, unique=True)) if pending else []
        truths = [end for end in self.ends if self.model.requests[end.id].adjustment is None]
        late = data.draw(st.lists(st.sampled_from(truths), max_size=3, unique_by=_id)) if truths else []
        holds = [self._new_hold(data) for _ in range(data.draw(st.integers(0, 4)))]
        ends = [self._new_end(data, hold) for hold in (*ending, *late) if hold not in again]
        holds += [hold for hold in again if hold.id not in {end.id for end in ends}]
        self._send(holds, ends, loss)

    @precondition(lambda self: self.ends)
    @rule(data=st.data(), loss=LOSSES)
    def replay(self, data, loss):
        """The same ends again, in another order and other batches."""
        ends = data.draw(st.lists(st.sampled_from(self.ends), max_size=8))
        while ends:
            batch = {end.id: end for end in ends[:3]}
            ends = ends[3:]
            self._send([], list(batch.values()), loss)

    @rule(data=st.data(), commits=st.booleans())
    def lose_the_other_connection(self, data, commits):
        """A batch that goes over another connection, dies there or is carried out unseen, and is sent again."""
        pending = [request.hold for request in self.model.requests.values() if request.end is None]
        ending = data.draw(st.lists(st.sampled_from(pending), max_size=3, unique=True)) if pending else []
        holds = [self._new_hold(data) for _ in range(data.draw(st.integers(0, 3)))]
        ends = [self._new_end(data, hold) for hold in ending]
        _, parameters = batch_of(holds, ends)
        with psycopg.connect(self.url) as connection:
            try:
                connection.execute(WRITE, parameters)
            except psycopg.Error:
                connection.rollback()
                connection.execute(END_EXACTLY, [parameters[1]])
                connection.execute(HOLD_EXACTLY, [parameters[3]])
                commits = False
            if not commits:
                connection.rollback()
        self._send(holds, ends, "lost" if commits else "")

    @precondition(lambda self: self.ends)
    @rule(data=st.data())
    def hold_again(self, data):
        """The call that held an ended request is carried out again, late: it opens nothing."""
        hold = self.model.requests[data.draw(st.sampled_from(self.ends)).id].hold
        with pytest.raises(psycopg.Error) as refusal:
            self.tenancy.connection.execute(*batch_of([hold], []))
        assert refusal.value.sqlstate == "TG001"
        self._check()

    @rule(data=st.data())
    def change_a_quota(self, data):
        """Its limit, what it is, or that its window has ended."""
        live = [quota for quota in self.model.quotas if quota.is_live and not quota.is_credit]
        ending = [quota for quota in self.model.quotas if quota.is_open and quota.period != "forever"]
        changes = {self._set_quota: st.just([]), self._grant: st.just([])}
        changes |= {self._set_limit: st.sampled_from(self.model.quotas)} if self.model.quotas else {}
        changes |= {self._retire: st.sampled_from(live)} if live else {}
        changes |= {self._end_window: st.sampled_from(ending)} if ending else {}
        change = data.draw(st.sampled_from(list(changes)))
        change(data.draw(changes[change]), data)

    @rule(most=st.integers(1, 12))
    def post(self, most):
        self.tenancy.execute("SELECT billing_post_settled(%s)", most)
        self._check()

    # How it is done -------------------------------------------------------------------------------------------------

    def _set_quota(self, fields, data=None):
        owner, level, metric, period, is_hard, limit = fields or data.draw(QUOTAS)
        column = {"organization": "organization_id", "project": "project_id", "key": "api_key_id"}[level]
        scope = self.owners[owner][column]
        for quota in self.model.quotas:
            if quota.is_live and (quota.scope, quota.metric, quota.period) == (scope, metric, period):
                return
        quota_id = self.tenancy.quota(self.owners[owner], limit, metric, period, level, is_hard=is_hard)
        self.model.quotas.append(Quota(quota_id, scope, level, metric, period, is_hard, limit))

    def _set_limit(self, quota, data):
        amount = data.draw(LIMITS)
        self.tenancy.execute("SELECT billing_set_limit(%s, %s)", quota.id, amount)
        quota.set_limit(amount)

    def _grant(self, _, data):
        owner, amount = self.owners[data.draw(st.integers(0, 3))], data.draw(LIMITS)
        scope = owner["organization_id"]
        for quota in self.model.quotas:
            if quota.is_credit and quota.scope == scope:
                self.tenancy.execute("SELECT billing_set_limit(%s, %s)", quota.id, quota.limit + amount)
                quota.set_limit(quota.limit + amount)
                return
        credit = self.tenancy.quota(owner, amount, is_credit=True)
        self.model.quotas.append(Quota(credit, scope, "organization", "cost", "forever", True, amount, is_credit=True))

    def _retire(self, quota, data):
        self.tenancy.execute("UPDATE billing_quota SET retired_at = now() WHERE id = %s", quota.id)
        quota.is_live = False

    def _end_window(self, quota, data):
        self.tenancy.execute(END_WINDOW, quota.id)
        quota.is_open = False

    def _new_hold(self, data):
        owner = self.owners[data.draw(st.integers(0, 3))]
        fields = {} if data.draw(st.integers(0, 9)) else {"price_id": None}
        self.made += 1  # in the order of their ids, as they are decided: else no two runs would be the same
        fields["id"] = new_id(self.began + self.made)
        return self.tenancy.hold(owner, data.draw(AMOUNTS), hold_tokens=data.draw(AMOUNTS), **fields)

    def _new_end(self, data, hold):
        source = data.draw(st.sampled_from(["reported", "estimated", "recovered", "none"]))
        if source == "none":
            return void(hold.id, 502)
        tokens = {"input_tokens": data.draw(AMOUNTS), "output_tokens": data.draw(AMOUNTS)}
        return settled(hold, data.draw(AMOUNTS), usage_source=source, **tokens)

    def _send(self, holds, ends, loss):
        known = set(self.model.requests)
        expected = self.model.send(holds, ends)
        if "=" in loss:
            faults.arm(loss)
        try:
            refusals = self.loop.run_until_complete(self._answers(holds, ends))
        finally:
            faults.disarm()
        assert refusals.keys() == {str(item) for item in expected}
        for item, lacking in expected.items():
            _check_refusal(refusals[str(item)], lacking, is_exact=not loss)
        self.ends += [end for end in ends if end.id in known and end not in self.ends]
        self._check()

    async def _answers(self, holds, ends):
        waiters = {str(hold.id): self.lane.hold(hold) for hold in holds}
        ended = [self.lane.end(end) for end in ends]
        done = await asyncio.wait_for(asyncio.gather(*waiters.values(), *ended, return_exceptions=True), 20)
        return {item: error for item, error in zip(waiters, done, strict=False) if error is not None}

    def _check(self):
        assert self.tenancy.breaches() == {}
        quotas = sorted((quota for quota in self.model.quotas), key=lambda quota: quota.id)
        windows = [tuple(row.values()) for row in self.tenancy.execute(WINDOWS, [quota.id for quota in quotas])]
        assert windows == [(q.id, w.limit, w.ceiling, w.posted, w.held) for q in quotas for w in q.windows]
        records = {row.pop("id"): tuple(row.values()) for row in
                   self.tenancy.execute(RECORDS, self.tenancy.organizations)}  # fmt: skip
        assert records == {
            item: (request.end.state, request.end.usage_source, request.end.cost_nano_usd, request.charged,
                   request.end.cost_nano_usd - request.charged, *(request.adjustment or (None, None, None)))
            for item, request in self.model.requests.items() if request.end
        }  # fmt: skip
        held = "SELECT id FROM billing_hold WHERE organization_id = ANY (%s)"
        held = {row["id"] for row in self.tenancy.execute(held, self.tenancy.organizations)}
        assert held == {item for item in self.model.requests if self.model.is_open(item)}


def _id(item):
    return item.id


def _check_refusal(error, lacking, *, is_exact):
    if lacking is None:
        assert isinstance(error, Unpriced)
        return
    assert isinstance(error, QuotaExceeded), error
    found = [(q.level, q.metric, q.period, q.is_credit, q.limit, q.needed, q.left) for q in error.lacking]
    if is_exact:
        assert set(found) == lacking
        assert len(found) == len(set(found))
    else:  # decided once more, when what came after it had been held
        assert {row[:-1] for row in lacking} <= {row[:-1] for row in found}


@pytest.fixture
def machine(plane, monkeypatch):
    monkeypatch.setattr(connection, "RETRY_SECONDS", 0.001)
    monkeypatch.setattr(writing, "TIGHT_SECONDS", 0)
    monkeypatch.setattr(Money, "url", plane_database.url())
    return Money


def run(machine, examples, steps):
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.generate, Phase.shrink],
        ),
    )  # fmt: skip


@pytest.mark.timeout(300)
def test_the_books_follow_the_model(machine):
    run(machine, 40, 30)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_the_books_follow_the_model_for_long(machine):
    run(machine, 1500, 60)
