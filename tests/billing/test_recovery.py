"""What becomes of requests whose process is gone: decided, and replayed from real spools with a real upstream."""

import asyncio
import contextlib
import ssl
import tempfile
import uuid
from datetime import UTC, datetime
from pathlib import Path

import httpx
import msgspec
import pytest
from psycopg.conninfo import make_conninfo
from psycopg_pool import AsyncConnectionPool

from billing import faults
from billing.metering.meter import Meter
from billing.prices.estimation import UNKNOWN, Ratio
from billing.prices.price_list import ListedPrice, PriceList
from billing.prices.pricing import PriceSheet, cost, price_lines
from billing.prices.tokens import TokenUsage
from billing.record import Opened, Seen, Settlement, void
from billing.recovery.orphan import Basis, Orphan, by_estimate, final_of, with_entries
from billing.recovery.replay import Replay
from billing.spool.format import Entry, Kind
from billing.spool.writer import Spool
from gateway.addresses import origin_of
from gateway.catalog import Catalog, UpstreamFacts
from gateway.local.simulator import Simulator
from gateway.sealing import seal
from gateway.upstream.lookup import Lookup
from gateway.upstream.transport import UpstreamTransport
from tests import plane_database
from tests.billing.books import Books, settled, until
from tests.billing.proxy import Proxy
from tests.billing.rows import PRICE

TLS = ssl.create_default_context()  # unused, and dear to make anew for every client
PRICE_ID = uuid.UUID(int=5)
UPSTREAM_ID = uuid.UUID(int=7)
RECORD_ID = uuid.UUID(int=9)
SHEET = PriceSheet.of(PRICE)


# Decisions ----------------------------------------------------------------------------------------------------------


def entries_of(*kinds_and_payloads):
    return [
        Entry(number, kind, RECORD_ID, payload if isinstance(payload, bytes) else msgspec.json.encode(payload))
        for number, (kind, payload) in enumerate(kinds_and_payloads)
    ]


def orphan(**fields):
    return Orphan(**({"id": RECORD_ID, "model": "m", "upstream_id": UPSTREAM_ID, "response_id": "", "price_id": None,
                      "request_bytes": 41} | fields))  # fmt: skip


def an_end(source, **fields):
    return Settlement(id=RECORD_ID, state="settled", usage_source=source, status=200, **fields)


@pytest.mark.parametrize(
    ("kept", "recovered"),
    [("reported", "recovered"), ("drained", "recovered"), ("estimated", "estimated"), ("none", "none")],
)
def test_an_end_in_the_spool_is_taken_as_it_stands(kept, recovered):
    end = an_end(kept, input_tokens=5, cost_nano_usd=70, flags=("unpriced",), latency_ms=12)
    entries = entries_of((Kind.DISPATCHED, b""), (Kind.PROGRESS, Seen(3)), (Kind.FINAL, end))
    assert final_of(entries) == msgspec.structs.replace(end, usage_source=recovered)


def test_without_an_end_there_is_none():
    assert final_of(entries_of((Kind.DISPATCHED, b""), (Kind.PROGRESS, Seen(3)))) is None


def test_of_two_ends_the_first_counts():
    first, second = an_end("reported", cost_nano_usd=1), an_end("reported", cost_nano_usd=2)
    assert final_of(entries_of((Kind.FINAL, first), (Kind.FINAL, second))).cost_nano_usd == 1


def test_the_spool_knows_more_than_the_database():
    known = orphan(response_id="resp_old", seen=Seen(1))
    opened, seen = Opened("resp_new", uuid.UUID(int=8)), Seen(12, "flex", "gpt-5-2025")
    found = with_entries(known, entries_of((Kind.DISPATCHED, b""), (Kind.OPENED, opened), (Kind.PROGRESS, seen)))
    assert (found.response_id, found.upstream_id, found.seen) == ("resp_new", uuid.UUID(int=8), seen)
    assert with_entries(known, entries_of((Kind.DISPATCHED, b""))) == known


ESTIMATES = [
    # what is known, tokens, flags
    ({}, (0, 0), ("died", "unanswered")),
    ({"response_id": "resp_1"}, (11, 0), ("died",)),
    ({"seen": Seen()}, (11, 0), ("died",)),
    ({"response_id": "resp_1", "seen": Seen(30, "default", "m")}, (11, 30), ("died",)),
]


@pytest.mark.parametrize(("known", "tokens", "flags"), ESTIMATES)
@pytest.mark.parametrize("sheet", [SHEET, None])
def test_an_estimate_is_of_what_was_seen_and_flagged(known, tokens, flags, sheet):
    end = by_estimate(orphan(**known), Basis(sheet, UNKNOWN), "died")
    assert (end.state, end.usage_source, end.status) == ("settled", "estimated", None)
    assert (end.input_tokens, end.output_tokens) == tokens
    assert end.flags == flags
    lines = price_lines(TokenUsage(input=tokens[0], output=tokens[1]), PRICE) if sheet else ()
    assert end.cost_nano_usd == cost(lines)
    assert end.response_id == known.get("response_id", "")


def test_an_estimate_goes_by_the_models_own_ratio():
    ratio = Ratio(request_bytes=1000, input_tokens=300, delta_events=100, output_tokens=150)
    end = by_estimate(orphan(request_bytes=2000, seen=Seen(40)), Basis(SHEET, ratio), "died")
    assert (end.input_tokens, end.output_tokens) == (600, 60)


# Replay -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def books(plane):
    books = Books(plane_database.url())
    yield books
    books.clear()
    books.close()


@pytest.fixture
async def simulator():
    async with Simulator() as running:
        yield running


class Dead:
    """A process that died: its spool, left behind, and its holds in the database."""

    def __init__(self, folder, books):
        self.id = uuid.uuid4()
        self.folder = folder / str(self.id)
        self._books = books
        self._spool = Spool(folder, self.id, segment_bytes=1 << 16, max_bytes=1 << 20)

    def held(self, *entries):
        """An open request of it, with these in the spool: kinds and payloads, or what makes a payload of the hold."""
        hold = self._books.hold(
            process_id=self.id, upstream_id=UPSTREAM_ID, price_id=PRICE_ID, request_bytes=41, hold_nano_usd=10**9
        )
        self._books.write([hold])
        for kind, given in entries:
            payload = given(hold) if callable(given) else given
            self._spool.append(kind, hold.id, payload if isinstance(payload, bytes) else msgspec.json.encode(payload))
        return hold

    async def dies(self):
        await self._spool.close()


class Host:
    """Where dead processes are replayed, by one process or more."""

    def __init__(self, folder, books, upstream_url):
        self.folder = folder
        self._books = books
        self._stack = contextlib.AsyncExitStack()
        facts = UpstreamFacts(
            UPSTREAM_ID, "simulator", upstream_url, origin_of(upstream_url, allow_private=True),
            seal(b"sk-any", f"gateway_upstream:{UPSTREAM_ID}".encode()),
        )  # fmt: skip
        price = ListedPrice(PRICE_ID, "*", datetime(2026, 1, 1, tzinfo=UTC), SHEET)
        self._catalog = Catalog({}, PriceList([price]), {UPSTREAM_ID: facts})

    async def __aenter__(self):
        self._transport = await self._stack.enter_async_context(
            UpstreamTransport(connect_seconds=1, read_seconds=5, most_connections=10)
        )
        return self

    async def __aexit__(self, *_):
        await self._stack.aclose()

    def dead(self):
        return Dead(self.folder, self._books)

    async def replay(self, url=None, pool_url=None, pool_seconds=10):
        """The replay of one more process."""
        spool = Spool(self.folder, uuid.uuid4(), segment_bytes=1 << 16, max_bytes=1 << 20)
        meter = Meter(url or self._books.url, spool, hold_seconds=5, settle_seconds=5, progress_seconds=1)
        meter.start()
        self._stack.push_async_callback(meter.close, 5)
        pool = AsyncConnectionPool(
            pool_url or self._books.url,
            min_size=0,
            max_size=2,
            open=False,
            timeout=pool_seconds,
            kwargs={"autocommit": True},
        )
        await self._stack.enter_async_context(pool)

        async def catalog():
            return self._catalog

        lookup = Lookup(self._transport, catalog)
        return Replay(self.folder, pool, meter.recover, lookup.truth, lookup.basis_of)


@pytest.fixture
async def host(tmp_path, books, simulator):
    async with Host(tmp_path / "spool", books, simulator.url) as host:
        yield host


@pytest.fixture
async def client(simulator):
    headers = {"authorization": "Bearer sk-any"}
    async with httpx.AsyncClient(verify=TLS, base_url=simulator.url, headers=headers) as http:
        yield http


@pytest.fixture
def faulty():
    """Points may be armed; they are disarmed afterwards."""
    yield faults.arm
    faults.disarm()


def dispatched(*more):
    return ((Kind.DISPATCHED, lambda hold: hold), *more)


def opened(response_id):
    return (Kind.OPENED, Opened(response_id, UPSTREAM_ID))


def final(nano_usd=70, source="reported"):
    return (Kind.FINAL, lambda hold: settled(hold, nano_usd, usage_source=source, latency_ms=9))


async def answered(client, model="sim-ok"):
    """The response id and usage of an answer that the upstream has given."""
    answer = (await client.post("/responses", json={"model": model, "input": "Hello"})).json()
    return answer["id"], answer["usage"]


def ending(record):
    return record["state"], record["usage_source"], record["flags"]


async def test_what_the_spool_has_the_end_of_is_recovered_exactly(host, books):
    dead = host.dead()
    reported, drained = (
        dead.held(*dispatched(final(70))),
        dead.held(*dispatched(opened("resp_1"), final(80, "drained"))),
    )
    guessed = dead.held(*dispatched(final(90, "estimated")))
    nothing = dead.held(*dispatched((Kind.FINAL, lambda hold: void(hold.id, 502))))
    await dead.dies()
    assert await (await host.replay()).run() == 1
    ends = [(books.record(hold)["usage_source"], books.record(hold)["cost_nano_usd"]) for hold in
            (reported, drained, guessed, nothing)]  # fmt: skip
    assert ends == [("recovered", 70), ("recovered", 80), ("estimated", 90), ("none", 0)]
    assert books.record(reported)["latency_ms"] == 9
    assert not dead.folder.exists()


async def test_what_had_ended_in_the_database_stays_as_it_is(host, books):
    dead = host.dead()
    hold = dead.held(*dispatched(final(70)))
    books.write([], [settled(hold, 70)])
    await dead.dies()
    await (await host.replay()).run()
    assert ending(books.record(hold)) == ("settled", "reported", [])
    assert books.adjustment(hold) is None


@pytest.mark.usefixtures("committed")
async def test_what_the_spool_knows_and_the_database_lost_is_booked(tmp_path, tenant_books, simulator, client):
    """F17 of a hold: a failover to a replica that lagged, and then the process died."""
    response_id, _ = await answered(client, "sim-usage-900-0-0-80-0")
    async with Host(tmp_path, tenant_books, simulator.url) as host:
        dead = host.dead()
        ended, asked, cut = (
            dead.held(*dispatched(final(70))), dead.held(*dispatched(opened(response_id))),
            dead.held(*dispatched((Kind.PROGRESS, Seen(7)))),
        )  # fmt: skip
        unsaid = dead.held((Kind.DISPATCHED, b""), (Kind.PROGRESS, Seen(7)))  # as earlier versions wrote it
        for hold in (ended, asked, cut, unsaid):
            tenant_books.execute("DELETE FROM billing_hold WHERE id = %s", hold.id)
        await dead.dies()
        await (await host.replay()).run()
    assert [ending(tenant_books.record(hold)) for hold in (ended, asked, cut)] == [
        ("settled", "recovered", ["hold_lost"]),
        ("settled", "recovered", ["hold_lost"]),
        ("settled", "estimated", ["hold_lost", "process_died"]),
    ]
    assert [tenant_books.record(hold)["output_tokens"] for hold in (ended, asked, cut)] == [3, 80, 7]
    assert tenant_books.state(unsaid) is None


async def test_the_upstream_is_asked_for_an_answer_that_was_not_seen_to_end(host, books, client):
    response_id, usage = await answered(client, "sim-usage-900-100-50-80-30")
    dead = host.dead()
    hold = dead.held(*dispatched(opened(response_id), (Kind.PROGRESS, Seen(3))))
    await dead.dies()
    await (await host.replay()).run()
    record = books.record(hold)
    assert ending(record) == ("settled", "recovered", [])
    tokens = TokenUsage(input=900, cached=100, cache_write=50, output=80, reasoning=30)
    assert (record["input_tokens"], record["reasoning_tokens"], record["reported_usage"]) == (900, 30, usage)
    assert record["cost_nano_usd"] == cost(price_lines(tokens, PRICE))


async def test_an_answer_that_is_still_being_made_is_estimated_by_its_progress(host, books, client, simulator):
    async with client.stream("POST", "/responses", json={"model": "sim-hold", "input": "Hi", "stream": True}):
        await simulator.holds.until(1)
        ((response_id,),) = simulator.holds.names()
        dead = host.dead()
        hold = dead.held(*dispatched(opened(response_id), (Kind.PROGRESS, Seen(3)), (Kind.PROGRESS, Seen(7))))
        await dead.dies()
        await (await host.replay()).run()
    record = books.record(hold)
    assert ending(record) == ("settled", "estimated", ["process_died"])
    assert (record["input_tokens"], record["output_tokens"], record["response_id"]) == (11, 7, response_id)
    assert record["cost_nano_usd"] > 0


async def test_an_answer_that_the_upstream_does_not_know_is_estimated(host, books):
    dead = host.dead()
    hold = dead.held(*dispatched(opened("resp_unknown")))
    odd = dead.held(*dispatched(opened("resp/../../models")))
    await dead.dies()
    await (await host.replay()).run()
    assert [ending(books.record(it)) for it in (hold, odd)] == [("settled", "estimated", ["process_died"])] * 2
    assert (books.record(hold)["input_tokens"], books.record(hold)["output_tokens"]) == (11, 0)


async def test_an_upstream_that_is_down_keeps_nobody_waiting(tmp_path, books):
    async with Host(tmp_path, books, "http://127.0.0.1:9/v1") as host:
        dead = host.dead()
        hold = dead.held(*dispatched(opened("resp_1"), (Kind.PROGRESS, Seen(5))))
        await dead.dies()
        await (await host.replay()).run()
        assert (ending(books.record(hold)), books.record(hold)["output_tokens"]) == (
            ("settled", "estimated", ["process_died"]), 5,
        )  # fmt: skip


async def test_what_was_sent_and_never_answered_costs_nothing_and_is_flagged(host, books):
    dead = host.dead()
    hold = dead.held(*dispatched())
    await dead.dies()
    await (await host.replay()).run()
    record = books.record(hold)
    assert (ending(record), record["cost_nano_usd"]) == (("settled", "estimated", ["process_died", "unanswered"]), 0)


async def test_what_was_never_sent_is_void(host, books):
    dead = host.dead()
    hold, _ = dead.held(), dead.held(*dispatched())
    await dead.dies()
    await (await host.replay()).run()
    assert ending(books.record(hold)) == ("void", "none", ["undispatched"])


async def test_a_process_that_lives_is_left_alone(host, books):
    alive = host.dead()
    hold = alive.held(*dispatched())
    assert await (await host.replay()).run() == 0
    assert books.state(hold) == "pending"
    await alive.dies()


async def test_two_replays_at_one_spool_make_one_record_each(host, books):
    dead = host.dead()
    holds = [dead.held(*dispatched(final(nano_usd))) for nano_usd in range(1, 40)]
    holds += [dead.held(*dispatched()) for _ in range(10)]
    await dead.dies()
    replays = [await host.replay() for _ in range(3)]
    assert sum(await asyncio.gather(*(replay.run() for replay in replays))) == 1
    assert [books.record(hold)["cost_nano_usd"] for hold in holds] == [*range(1, 40), *[0] * 10]
    assert not dead.folder.exists()


@pytest.mark.parametrize("point", ["replay.entry", "replay.settled"])
async def test_a_replay_that_breaks_off_is_taken_up(host, books, faulty, point):
    dead = host.dead()
    holds = [dead.held(*dispatched(final(nano_usd))) for nano_usd in range(1, 6)]
    unsent = dead.held()
    await dead.dies()
    first, second = await host.replay(), await host.replay()
    faulty(f"{point}=raise@3")
    assert await first.run() == 0
    assert dead.folder.exists()
    assert await second.run() == 1
    assert [books.record(hold)["cost_nano_usd"] for hold in holds] == [1, 2, 3, 4, 5]
    assert all(books.adjustment(hold) is None for hold in holds)
    assert books.state(unsent) == "void"


async def test_a_replay_without_a_database_leaves_the_spool_to_the_next(host, books, tmp_path):
    dead = host.dead()
    hold = dead.held(*dispatched(final(70)))
    await dead.dies()
    cut_off = await host.replay(pool_url=make_conninfo(books.url, host=str(tmp_path)), pool_seconds=0.3)
    assert await cut_off.run() == 0
    assert books.state(hold) == "pending"
    assert await (await host.replay()).run() == 1
    assert books.record(hold)["cost_nano_usd"] == 70


async def test_a_replay_waits_for_a_database_that_went_away_meanwhile(host, books):
    dead = host.dead()
    hold = dead.held(*dispatched(final(70)))
    await dead.dies()
    with tempfile.TemporaryDirectory() as folder:
        replay = await host.replay(url=Proxy(books.url, Path(folder)).url)
        running = asyncio.create_task(replay.run())
        await until(lambda: is_locked(dead.folder))
        assert not running.done()
        async with Proxy(books.url, Path(folder)):
            assert await running == 1
            assert books.record(hold)["cost_nano_usd"] == 70


def is_locked(folder):
    """Asked of the system: whoever tries the lock himself has it for a moment, and keeps the replay from it."""
    return f":{(folder / 'lock').stat().st_ino} " in Path("/proc/locks").read_text()
