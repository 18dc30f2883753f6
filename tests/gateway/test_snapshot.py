"""What a process knows of keys and models: as new as the revision says, and none of it invented when nobody answers."""

import asyncio
import tempfile
import time
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from django.db import connection
from psycopg_pool import AsyncConnectionPool

from accounts import keys
from accounts.models import APIKey
from billing.books import quotas
from billing.metering.request_ids import RequestIds
from gateway import snapshot
from gateway.key_use import KeyUse
from gateway.snapshot import Snapshots, SnapshotUnavailable
from tests import plane_database
from tests.tenants import Tenant


@pytest.fixture
def tenant(committed):
    return Tenant.make("cached", "http://nowhere")


@pytest.fixture
async def pool(plane):
    async with AsyncConnectionPool(
        plane_database.url(), min_size=1, max_size=4, open=False, timeout=2, kwargs={"autocommit": True}
    ) as pool:
        yield pool


@pytest.fixture
async def snapshots(pool):
    snapshots = Snapshots(pool, RequestIds(), poll_seconds=0.02, max_age_seconds=60)
    await snapshots.start()
    yield snapshots
    await snapshots.close()


@pytest.fixture
def counted(monkeypatch):
    """How often each statement of a load was asked."""
    asked = []
    load = Snapshots._load

    async def counting(self, name, ask):
        asked.append(name)
        return await load(self, name, ask)

    monkeypatch.setattr(Snapshots, "_load", counting)
    return asked


async def change(statement, *parameters):
    async with await psycopg.AsyncConnection.connect(plane_database.url(), autocommit=True) as connection:
        await connection.execute(statement, parameters)


async def until(condition):
    for _ in range(1000):
        if await condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not come to pass")


async def test_a_key_is_read_once_and_known_from_then_on(snapshots, tenant, counted):
    for _ in range(5):
        facts = await snapshots.key(tenant.secret)
    assert (facts.id, facts.organization_id) == (tenant.key.id, tenant.organization.id)
    assert len(counted) == 1


async def in_thread(change, *arguments, **fields):
    """Through Django, which is synchronous; the thread's connection ends with it."""

    def run():
        try:
            return change(*arguments, **fields)
        finally:
            connection.close()

    return await asyncio.to_thread(run)


@pytest.mark.parametrize("level", ["organization", "project", "key"])
async def test_hard_quotas_in_cost_and_tokens_are_known_while_they_are_in_force(snapshots, tenant, level):
    scope = getattr(tenant, level)

    def knows(*metrics):
        async def does():
            return (await snapshots.key(tenant.secret)).hard_metrics == frozenset(metrics)

        return until(does)

    await knows()
    tokens = await in_thread(quotas.set_quota, scope, "tokens", "day", 100)
    await knows("tokens")
    await in_thread(quotas.set_quota, scope, "cost", "month", 100)
    await in_thread(quotas.set_quota, scope, "requests", "month", 100)
    await knows("cost", "tokens")
    await in_thread(quotas.retire, tokens)
    await knows("cost")
    await in_thread(quotas.set_quota, scope, "cost", "month", 100, is_hard=False)
    await knows()


async def test_quotas_of_others_are_not_of_this_key(snapshots, tenant, committed):
    other = await in_thread(Tenant.make, "globex", "http://nowhere")
    await in_thread(quotas.set_quota, other.organization, "cost", "day", 100)
    assert (await snapshots.key(tenant.secret)).hard_metrics == frozenset()
    assert (await snapshots.key(other.secret)).hard_metrics == {"cost"}


async def test_those_who_ask_at_once_ask_together_and_the_first_may_leave(snapshots, tenant, counted):
    asking = [asyncio.create_task(snapshots.key(tenant.secret)) for _ in range(20)]
    await asyncio.sleep(0)
    asking[0].cancel()
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert {facts.id for facts in found[1:]} == {tenant.key.id}
    assert len(counted) == 1


async def test_a_change_is_seen_by_the_next_poll(snapshots, tenant):
    assert (await snapshots.key(tenant.secret)).revoked_at is None
    await change("UPDATE accounts_apikey SET revoked_at = now() WHERE id = %s", tenant.key.id)

    async def is_revoked():
        return (await snapshots.key(tenant.secret)).revoked_at is not None

    await until(is_revoked)


async def test_what_was_read_before_a_change_is_not_given_out_after_it(snapshots, tenant, monkeypatch):
    """The load began before the key was revoked and ends after the poll has seen that."""
    ready, go_on = asyncio.Event(), asyncio.Event()
    load_key = Snapshots._load_key

    async def slow(self, candidates):
        row = await load_key(self, candidates)
        if not ready.is_set():
            ready.set()
            await go_on.wait()
        return row

    monkeypatch.setattr(Snapshots, "_load_key", slow)
    early = asyncio.create_task(snapshots.key(tenant.secret))
    await ready.wait()
    before = snapshots._revision
    await change("UPDATE accounts_apikey SET revoked_at = now() WHERE id = %s", tenant.key.id)

    async def is_seen():
        return snapshots._revision > before

    await until(is_seen)
    late = await snapshots.key(tenant.secret)
    assert late.revoked_at is not None
    go_on.set()
    await early
    assert (await snapshots.key(tenant.secret)).revoked_at is not None


async def test_an_entry_ends_though_nothing_changes(pool, tenant, counted):
    snapshots = Snapshots(pool, RequestIds(), poll_seconds=60, max_age_seconds=0.05)
    await snapshots.key(tenant.secret)
    await asyncio.sleep(0.06)
    await snapshots.key(tenant.secret)
    assert len(counted) == 2


async def test_keys_that_were_never_issued_are_remembered_within_bounds(snapshots, tenant, counted, monkeypatch):
    monkeypatch.setattr(snapshot, "MOST_KEYS", 10)
    await snapshots.key(tenant.secret)
    guesses = [keys.generate() for _ in range(9)]
    for guess in [*guesses, *guesses]:
        assert await snapshots.key(guess) is None
    assert len(counted) == 10
    await snapshots.key(tenant.secret)
    assert len(counted) == 10  # a few guesses do not make it forget
    for _ in range(30):
        await snapshots.key(keys.generate())
    assert len(snapshots._entries) == 10


async def test_a_database_that_is_away_is_our_fault_and_no_answer(tenant):
    with tempfile.TemporaryDirectory() as nowhere:
        pool = AsyncConnectionPool(f"host={nowhere}", open=False, timeout=0.1, min_size=1, reconnect_timeout=0.1)
        await pool.open()
        snapshots = Snapshots(pool, RequestIds(), poll_seconds=0.02, max_age_seconds=60)
        await snapshots.start()
        for asked in (snapshots.key(tenant.secret), snapshots.key(keys.generate()), snapshots.catalog()):
            with pytest.raises(SnapshotUnavailable):
                await asked
        await snapshots.close()
        await pool.close()


async def test_a_database_that_hangs_is_waited_for_and_then_not(snapshots, tenant, monkeypatch):
    monkeypatch.setattr(snapshot, "ANSWER_SECONDS", 0.1)
    async with await psycopg.AsyncConnection.connect(plane_database.url()) as blocking:
        await blocking.execute("LOCK TABLE accounts_apikey IN ACCESS EXCLUSIVE MODE")
        began = time.monotonic()
        for _ in range(2):
            with pytest.raises(SnapshotUnavailable):
                await snapshots.key(tenant.secret)
        assert time.monotonic() - began < 2
        await blocking.rollback()

    async def is_known():
        return (await snapshots.key(tenant.secret)) is not None

    await until(is_known)


async def test_a_poll_that_fails_is_followed_by_the_next(snapshots, tenant, monkeypatch):
    await snapshots.key(tenant.secret)
    monkeypatch.setattr(snapshots, "_saw", None)  # a fault that nobody thought of
    await asyncio.sleep(0.05)
    monkeypatch.undo()
    await change("UPDATE accounts_apikey SET revoked_at = now() WHERE id = %s", tenant.key.id)

    async def is_revoked():
        return (await snapshots.key(tenant.secret)).revoked_at is not None

    await until(is_revoked)


async def test_the_databases_clock_is_known_before_the_first_request(pool, monkeypatch):
    monkeypatch.setattr("billing.metering.request_ids.time.time", lambda: 1_000_000_000.0)  # a replica in 2001
    ids = RequestIds()
    snapshots = Snapshots(pool, ids, poll_seconds=60, max_age_seconds=60)
    await snapshots.start()
    assert abs(ids.now() - datetime.now(UTC)) < timedelta(minutes=1)
    await snapshots.close()


# When keys were last used


async def last_use(pool, tenant):
    columns = "last_used_address, last_used_agent, last_used_at"
    async with pool.connection() as connection:
        rows = await connection.execute(f"SELECT {columns} FROM accounts_apikey WHERE id = %s", [tenant.key.id])
        return await rows.fetchone()


async def test_last_uses_are_written_and_raise_no_revision(pool, tenant):
    use = KeyUse(pool, 60)
    before = await asyncio.to_thread(_revision)
    use.used(tenant.key.id, "192.0.2.1", "agent\0/1")
    use.start()
    await use.close()
    row = await last_use(pool, tenant)
    assert row[:2] == ("192.0.2.1", "agent/1")
    assert row[2] is not None
    assert await asyncio.to_thread(_revision) == before


async def test_processes_that_write_the_same_keys_do_not_wait_for_each_other_in_a_circle(pool, tenant, committed_keys):
    first, second = KeyUse(pool, 60), KeyUse(pool, 60)
    for _ in range(5):
        for key_id in committed_keys:
            first.used(key_id, "", "")
        for key_id in reversed(committed_keys):
            second.used(key_id, "", "")
        await asyncio.gather(first._flush(), second._flush())
        assert first._uses == second._uses == {}


async def test_uses_that_could_not_be_written_are_written_later(tenant, pool, caplog):
    with tempfile.TemporaryDirectory() as nowhere:
        away = AsyncConnectionPool(f"host={nowhere}", open=False, timeout=0.05, min_size=1, reconnect_timeout=0.05)
        await away.open()
        use = KeyUse(away, 60)
        use.used(tenant.key.id, "192.0.2.9", "")
        await use._flush()
        assert "could not be written yet" in caplog.text
        await away.close()
    use._pool = pool
    await use._flush()
    assert (await last_use(pool, tenant))[0] == "192.0.2.9"


@pytest.fixture
def committed_keys(tenant):
    made = [APIKey.objects.issue(project=tenant.project, name=f"key {number}")[0] for number in range(200)]
    return [key.id for key in made]


def _revision():
    with psycopg.connect(plane_database.url()) as connection:
        return connection.execute("SELECT value FROM accounts_revision").fetchone()[0]
