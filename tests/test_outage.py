"""F9, F10, F28: PostgreSQL stopped, killed and frozen under load. Open streams finish, new requests get a 503 and
nothing else, and once it is back the books are complete.
"""

import asyncio
import json
import logging
import random
import threading
import time
from hashlib import sha256
from types import SimpleNamespace

import pytest
from django.db import connection

from tests.billing.proxy import Proxy
from tests.crowd import ask
from tests.gateway_process import GatewayProcess
from tests.own_postgres import OwnPostgres
from tests.quotas import set_quota, window_of
from tests.tenants import Tenant, fill_catalog, until
from tests.upstream import UpstreamThread

logger = logging.getLogger(__name__)
pytestmark = pytest.mark.slow

# Of the real bounds, in which the long profile is run.
BACKLOG_SECONDS = 30
CI, MINUTE, MINUTES = 6, 60, 300  # seconds of outage
SHARE_IN_CI = CI / MINUTE
MARGIN_SECONDS = 1.0  # two cores carry it all
HOLD_SECONDS = 1.0
BACK_SECONDS = 3.0  # after its return everything is answered again
SNAPSHOT_SECONDS = 3.0  # what a key's facts are waited for, once they are too old
OPEN_STREAMS = 60
PER_SECOND = 25

outages = pytest.mark.parametrize(
    "seconds",
    [
        CI,
        pytest.param(MINUTE, marks=[pytest.mark.long, pytest.mark.timeout(400)]),
        pytest.param(MINUTES, marks=[pytest.mark.long, pytest.mark.timeout(900)]),
    ],
)


@pytest.fixture(scope="module")
def postgres(django_test_environment, django_db_blocker, tmp_path_factory):
    with OwnPostgres(tmp_path_factory.mktemp("postgres")) as server:
        server.migrate(django_db_blocker)
        yield server


@pytest.fixture(scope="module")
def simulator(tmp_path_factory):
    """Its log has the requests of these tests alone."""
    with UpstreamThread(tmp_path_factory.mktemp("simulator") / "log") as thread:
        yield thread


@pytest.fixture
def books(postgres, simulator, django_db_blocker):
    """The tables, with a catalog."""
    with postgres.connected(django_db_blocker):
        fill_catalog(simulator.url)
        yield postgres


@pytest.fixture
def process(books, tmp_path):
    """Makes gateway processes of one host, over the PostgreSQL that goes away."""

    def made(name="gateway", **bounds):
        usual = {"DATABASE_URL": books.url, "SPOOL_DIR": str(tmp_path / "spool"), "TOLLGATE_RECOVERY_SECONDS": "1"}
        return GatewayProcess(tmp_path / name, **(usual | bounds))

    return made


def guarded_tenant(url):
    """A tenant with a hard quota of each metric, on three levels, all wide enough."""
    tenant = Tenant.make("outage", url)
    quotas = [
        set_quota("cost", 10**15, organization=tenant.organization),
        set_quota("tokens", 10**12, project=tenant.project, period="day"),
        set_quota("requests", 10**9, api_key=tenant.key, period="month"),
    ]
    return tenant, quotas


class ProxyThread:
    """The proxy in a thread of its own."""

    def __init__(self, url, folder):
        self._proxy = Proxy(url, folder)
        self.url = f"postgres://postgres@/postgres?host={folder}"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self):
        self._thread.start()
        self._run(self._proxy.__aenter__())
        return self

    def __exit__(self, *_):
        self._run(self._proxy.__aexit__())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def lose_next_answer(self):
        self._loop.call_soon_threadsafe(self._proxy.lose_next_answer)

    def has_lost_it(self):
        return self._proxy.lost.is_set()

    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)


class Load:
    """Requests that keep coming, streamed and not; each answer with when it was asked for."""

    def __init__(self, gateway, tenant, seed=1):
        self._origin, self._secret = gateway.origin, tenant.secret
        self._dice = random.Random(seed)
        self._tasks = set()
        self.asked = []  # (monotonic time, body, answer)

    def ask(self, model, **fields):
        body = {"model": model, "input": "word " * self._dice.randint(1, 30), "max_output_tokens": 2000, **fields}
        task = asyncio.create_task(self._ask(body))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def ask_something(self):
        model = self._dice.choice(
            ["sim-ok", "sim-reasoning", "sim-paced-20-40", "sim-tool", "sim-usage-900-100-50-70-7"]
        )
        self.ask(model, stream=self._dice.random() < 0.6)

    async def keep_asking(self):
        while True:
            self.ask_something()
            await asyncio.sleep(1 / PER_SECOND)

    def completed(self, since):
        """The ids of requests whose answers came whole since then."""
        return {
            asked.answer.request_id for asked in self.asked
            if asked.answer.status == 200 and asked.began + asked.answer.seconds > since
        }  # fmt: skip

    async def all_answered(self):
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _ask(self, body):
        began = time.monotonic()
        answer = await ask(self._origin, self._secret, json.dumps(body).encode())
        self.asked.append(SimpleNamespace(began=began, body=body, answer=answer))


async def outage_under_load(load, seconds, take_away, bring_back, is_settled):
    """Streams are open, and requests come before, during and after it. When it was away for sure, and what followed."""
    for number in range(OPEN_STREAMS):  # they end before it, in it, and after it
        load.ask(f"sim-paced-{20 + 4 * number}-{round(1000 * (seconds + 4) / 250)}", stream=True)
    asking = asyncio.create_task(load.keep_asking())
    await asyncio.sleep(2)
    await asyncio.to_thread(take_away)
    began = time.monotonic()
    await asyncio.sleep(seconds)
    ended = time.monotonic()
    backlog = load.completed(since=began)
    await asyncio.to_thread(bring_back)
    back = time.monotonic()
    while not await asyncio.to_thread(is_settled, backlog):  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    settled = time.monotonic() - back
    await asyncio.sleep(BACK_SECONDS + 1)
    asking.cancel()
    await load.all_answered()
    return SimpleNamespace(began=began, ended=ended, back=back, backlog=backlog, settled_seconds=settled)


def assert_answers(load, outage, simulator, most_seconds):
    """Whole answers, byte for byte as they were sent, or the one refusal; and that one alone while it was away."""
    lines = {line["client_request_id"]: line for line in simulator.responses()}
    for asked in load.asked:
        answer = asked.answer
        assert answer.status in {200, 503}, (answer, asked.body)
        if answer.status == 503:
            assert answer.error["code"] == "billing_unavailable"
            assert (answer.headers["retry-after"], answer.headers["x-should-retry"]) == ("5", "true")
            assert answer.request_id not in lines
        else:
            line = lines[answer.request_id]
            assert sha256(answer.body).hexdigest() == line["body_sha256"]
            assert line["ending"] == "completed"
            if asked.body["stream"]:
                assert answer.body.rpartition(b"event: ")[2].startswith(b"response.completed\n")
    meanwhile = [
        asked for asked in load.asked
        if outage.began < asked.began and asked.began + asked.answer.seconds < outage.ended
    ]  # fmt: skip
    assert len(meanwhile) > PER_SECOND * (outage.ended - outage.began - 2 * SNAPSHOT_SECONDS) / 2
    assert {asked.answer.status for asked in meanwhile} == {503}
    assert max(asked.answer.seconds for asked in meanwhile) < most_seconds
    later = [asked for asked in load.asked if asked.began > outage.back + BACK_SECONDS]
    assert {asked.answer.status for asked in later} == {200}


def assert_books(books, simulator, load, tenant, quotas, *, source="reported"):
    """Each request of the simulator's log has one record with its usage; what else there is never went upstream."""
    lines = simulator.responses()
    used = {line["client_request_id"]: line["usage"] for line in lines}
    assert len(used) == len(lines)
    records = books.rows("SELECT * FROM billing_usagerecord WHERE organization_id = %s", tenant.organization.id)
    settled = {str(record["id"]): record for record in records if record["state"] == "settled"}
    answered = {asked.answer.request_id for asked in load.asked if asked.answer.status == 200}
    assert settled.keys() == answered
    assert answered <= used.keys()
    for record in records:
        if record["state"] == "void":
            assert record["flags"] == ["undispatched"]
            assert str(record["id"]) not in used
    for name, record in settled.items():
        assert (record["usage_source"], record["overage_nano_usd"]) == (source, 0)
        for kind in ("input_tokens", "output_tokens"):
            assert record[kind] == used[name][kind]
    posted = {
        "cost": sum(record["cost_nano_usd"] for record in records),
        "tokens": sum(record["input_tokens"] + record["output_tokens"] for record in records),
        "requests": len(settled),
    }
    for quota in quotas:
        window = window_of(quota)
        assert (window.posted, window.held) == (posted[quota.metric], 0)


def take_away_and_back(postgres, way):
    return {
        "stopped": (postgres.stop, postgres.start),
        "killed": (postgres.kill, postgres.start),
        "frozen": (postgres.freeze, postgres.thaw),
    }[way]


@outages
@pytest.mark.parametrize("way", ["stopped", "killed", "frozen"])
def test_an_outage_costs_no_open_stream_and_no_cent(process, books, simulator, way, seconds):
    with process(TOLLGATE_SNAPSHOT_MAX_AGE_SECONDS="60") as gateway:
        tenant, quotas = guarded_tenant(gateway.url)
        load = Load(gateway, tenant)
        connection.close()

        def is_settled(ids):
            found = books.rows("SELECT count(*) FROM billing_usagerecord WHERE id = ANY (%s::uuid[])", list(ids))
            return found[0]["count"] == len(ids)

        outage = asyncio.run(outage_under_load(load, seconds, *take_away_and_back(books, way), is_settled))
        until(lambda: not books.rows("SELECT 1 FROM billing_hold"))
    slowest = max(asked.answer.seconds for asked in load.asked if asked.answer.status == 503)
    logger.info(
        "%s for %d s: %d streams and answers ended meanwhile, settled %.2f s after; refused within %.2f s",
        way, seconds, len(outage.backlog), outage.settled_seconds, slowest,
    )  # fmt: skip
    assert len(outage.backlog) > OPEN_STREAMS / 4
    assert outage.settled_seconds < BACKLOG_SECONDS * (SHARE_IN_CI if seconds == CI else 1)
    # In the first minute what is known of the key is fresh enough; then it is waited for, too.
    assert_answers(load, outage, simulator, (HOLD_SECONDS if seconds == CI else SNAPSHOT_SECONDS) + MARGIN_SECONDS)
    assert_books(books, simulator, load, tenant, quotas)


def test_what_is_not_cached_is_a_503_too(process, books):
    """Nobody can tell whether such a key exists; once the database is back it is known at once, however long it was."""
    with process() as gateway:
        known, _ = guarded_tenant(gateway.url)
        unknown, _ = guarded_tenant(gateway.url)
        assert known.ask("sim-ok").status_code == 200
        connection.close()
        books.stop()
        refused, deadline = [known.ask("sim-ok")], time.monotonic() + CI
        try:
            while time.monotonic() < deadline:
                refused.append(unknown.ask("sim-ok"))
        finally:
            books.start()
        for response in refused:
            assert (response.status_code, response.json()["error"]["code"]) == (503, "billing_unavailable")
            assert response.elapsed.total_seconds() < SNAPSHOT_SECONDS + MARGIN_SECONDS
        until(lambda: unknown.ask("sim-ok").status_code == 200, BACK_SECONDS)


def test_a_process_that_dies_in_an_outage_leaves_exact_ends_in_its_spool(process, books, simulator):
    """F5 and F9 at once: the answers were passed on whole, and their ends were on no disk but ours."""
    with process() as gateway:
        tenant, quotas = guarded_tenant(gateway.url)
        load = Load(gateway, tenant)
        connection.close()

        async def end_in_the_outage():
            for number in range(8):
                load.ask("sim-usage-900-100-50-70-7.hold", stream=number % 2 == 0)
            await asyncio.to_thread(simulator.hold, 8)
            await asyncio.to_thread(books.kill)
            simulator.release()
            await load.all_answered()

        asyncio.run(end_in_the_outage())
        assert {asked.answer.status for asked in load.asked} == {200}
        gateway.kill()
    back = threading.Timer(2, books.start)
    back.start()
    with process("next"):  # started before the database is back, and ready once it is
        back.join()
        until(lambda: not books.rows("SELECT 1 FROM billing_hold"))
    assert_books(books, simulator, load, tenant, quotas, source="recovered")


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_is_lost_behind_a_commit_is_asked_for_again(process, books, simulator, tmp_path, stream):
    """F8, of a hold and of an end: each is carried out, its answer does not arrive, and it counts once."""
    quiet = {f"TOLLGATE_{name}_SECONDS": "60" for name in ("REVISION_POLL", "HEARTBEAT", "RECOVERY", "KEY_USE_FLUSH")}
    with ProxyThread(books.url, tmp_path) as proxy, process(**quiet, DATABASE_URL=proxy.url) as gateway:
        tenant, quotas = guarded_tenant(gateway.url)
        load = Load(gateway, tenant)

        async def lose_both_answers():
            load.ask("sim-ok", stream=stream)
            await load.all_answered()  # from now on the gateway asks the database for nothing but this:
            proxy.lose_next_answer()
            load.ask("sim-hold", stream=stream)
            await asyncio.to_thread(simulator.hold, 1)
            assert proxy.has_lost_it()
            proxy.lose_next_answer()
            simulator.release()
            await load.all_answered()
            assert proxy.has_lost_it()

        asyncio.run(lose_both_answers())
        until(lambda: not books.rows("SELECT 1 FROM billing_hold"))
    assert [asked.answer.status for asked in load.asked] == [200, 200]
    assert_books(books, simulator, load, tenant, quotas)
