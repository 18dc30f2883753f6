"""Many connections on few windows at once, some of them cut: the books balance, and no lock waits for itself."""

import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from billing.record import Progress, Seen, void
from tests import plane_database
from tests.billing.books import settled
from tests.billing.sender import Sender
from tests.billing.tenancy import Tenancy

SENDERS = 6
CUT_ONE = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE %s "
    "AND application_name = 'sender' ORDER BY random() LIMIT 1"
)


@pytest.fixture
def tenancy(plane):
    tenancy = Tenancy(plane_database.url())
    yield tenancy
    tenancy.close()


class Storm:
    """What all senders know: which requests are open, and which have ended."""

    def __init__(self, tenancy, seconds):
        self.tenancy = tenancy
        self.deadline = time.monotonic() + seconds
        self.lock = threading.Lock()
        self.open = {}
        self.ended = []
        self.errors = Counter()
        self.outcomes = Counter()
        owners = [tenancy.owner() for _ in range(2)]
        self.owners = [*owners, *(tenancy.owner(o["organization_id"], o["project_id"]) for o in owners)]
        self.quotas = [
            quota
            for owner in owners
            for quota in (
                tenancy.quota(owner, 2000), tenancy.quota(owner, 900, period="day", level="project"),
                tenancy.quota(owner, 4000, metric="tokens", level="key"), tenancy.quota(owner, 20, metric="requests"),
                tenancy.quota(owner, 100, period="month", is_hard=False),
            )
        ]  # fmt: skip

    def run(self, *more):
        with ThreadPoolExecutor(2 * SENDERS) as pool:
            futures = [pool.submit(self._send_batches, number) for number in range(SENDERS)]
            futures += [pool.submit(self._repeatedly, work) for work in more]
            for future in futures:
                future.result()
        sender = Sender(self.tenancy.url)
        sender.send((), [void(hold.id, None) for hold in self.open.values()])
        sender.close()

    def _repeatedly(self, work):
        chance = random.Random(0)
        with psycopg.connect(self.tenancy.url, autocommit=True) as connection:
            while time.monotonic() < self.deadline:
                work(connection, chance)
                time.sleep(0.01)

    def _send_batches(self, number):
        chance = random.Random(number)
        sender = Sender(self.tenancy.url)
        while time.monotonic() < self.deadline:
            holds, ends = self._batch(chance)
            outcomes = sender.send(holds, ends)
            with self.lock:
                self.outcomes.update(outcomes.values())
                self.open |= {hold.id: hold for hold in holds if outcomes[str(hold.id)] in ("held", "exists")}
                self.ended += ends
            if self.open and chance.random() < 0.1:
                sender.mark(Progress(id=chance.choice(list(self.open)), progress=Seen(delta_events=1)))
        sender.close()
        with self.lock:
            self.errors.update(sender.errors)

    def _batch(self, chance):
        """New holds; ends of open requests, whose others may end too at the same time; ends of what has ended."""
        holds = [
            self.tenancy.hold(chance.choice(self.owners), chance.randint(0, 200), hold_tokens=chance.randint(0, 200))
            for _ in range(chance.randint(0, 6))
        ]
        with self.lock:
            open_now = chance.sample(list(self.open.values()), min(len(self.open), chance.randint(0, 6)))
            again = chance.sample(self.ended, min(len(self.ended), chance.randint(0, 2)))
            for hold in open_now:
                if chance.random() < 0.7:  # else another may end it as well
                    self.open.pop(hold.id)
        ends = {end.id: end for end in again} | {hold.id: self._end(hold, chance) for hold in open_now}
        return holds, list(ends.values())

    def _end(self, hold, chance):
        if chance.random() < 0.2:
            return void(hold.id, None)
        source = chance.choice(["estimated", "reported", "recovered"])
        return settled(hold, chance.randint(0, 250), usage_source=source, input_tokens=chance.randint(0, 250))

    def roll_over(self, connection, chance):
        quota = chance.choice(self.quotas)
        with connection.transaction():
            connection.execute("SELECT FROM billing_quota WHERE id = %s FOR NO KEY UPDATE", [quota])
            connection.execute(
                "UPDATE billing_quotawindow SET ends_at = now() WHERE id = (SELECT window_id FROM billing_quota "
                "WHERE id = %s)", [quota],
            )  # fmt: skip
            connection.execute("UPDATE billing_quota SET window_ends_at = now() WHERE id = %s", [quota])

    def set_limit(self, connection, chance):
        connection.execute("SELECT billing_set_limit(%s, %s)", [chance.choice(self.quotas), chance.randint(0, 4000)])

    def post(self, connection, chance):
        connection.execute("SELECT billing_post_settled(%s)", [chance.randint(1, 50)])

    def cut(self, connection, chance):
        if chance.random() < 0.05:
            connection.execute(CUT_ONE, ["%billing\\_%exactly%" if chance.random() < 0.3 else "%billing\\_write%"])

    def check(self):
        assert self.tenancy.breaches() == {}
        held = "SELECT sum(w.held) AS held FROM billing_quotawindow w WHERE quota_id = ANY (%s)"
        assert self.tenancy.execute(held, self.quotas).fetchone()["held"] == 0
        assert self.errors["40P01"] == 0, self.errors
        assert {"held", "refused", "ended", "exists", "adjusted"} <= self.outcomes.keys(), self.outcomes


def storm(tenancy, seconds):
    storm = Storm(tenancy, seconds)
    storm.run(storm.cut, storm.roll_over, storm.set_limit, storm.post)
    storm.check()
    return storm


def test_books_balance_after_a_storm(tenancy):
    storm(tenancy, 4)


@pytest.mark.long
def test_books_balance_after_a_long_storm(tenancy):
    storm(tenancy, 60)


def test_a_quota_with_room_for_some_admits_just_these(tenancy):
    owner = tenancy.owner()
    quotas = [tenancy.quota(owner, 100, metric="requests"), tenancy.quota(owner, 1000, level="project")]
    tenancy.quota(owner, 10_000, metric="tokens", level="key")
    done = threading.Event()

    def send(number):
        sender, chance, held = Sender(tenancy.url), random.Random(number), 0
        for _ in range(60):
            holds = [tenancy.hold(owner, 10, hold_tokens=100) for _ in range(chance.randint(1, 5))]
            held += sum(outcome in ("held", "exists") for outcome in sender.send(holds).values())
        sender.close()
        return held

    def cut():
        with psycopg.connect(tenancy.url, autocommit=True) as connection:
            while not done.wait(0.2):
                connection.execute(CUT_ONE, ["%billing\\_%"])

    with ThreadPoolExecutor(2 * SENDERS) as pool:
        cutting = pool.submit(cut)
        try:
            assert sum(pool.map(send, range(SENDERS))) == 100
        finally:
            done.set()
        cutting.result()
    assert [tenancy.window(quota)["held"] for quota in quotas] == [100, 1000]
    assert tenancy.breaches() == {}
