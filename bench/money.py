"""`python -m bench.money [--seconds S] [--json]`: what holding and settling cost, without a gateway.

Pairs of hold and settle a second on one connection in batches of 32, over three quotas each: of 1,000 organizations in
turn, and of one alone; PostgreSQL's CPU time for a pair. And through a `Meter`, as a gateway process has it: how long a
hold and a settle take together at 100 requests a second, beside what the disk and an empty call took meanwhile.
"""

import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from statistics import quantiles
from uuid import UUID, uuid4

import psycopg

from bench import cpu, probes
from bench.programs import BUILD, FOLDER
from billing.metering.batch import Batch, End
from billing.metering.connection import OPTIONS
from billing.metering.meter import Meter
from billing.metering.request_ids import uuid7
from billing.metering.writing import WRITE
from billing.record import Hold, Settlement
from billing.spool.writer import Spool
from gateway.local.embedded import PostgresServer, database_url

BATCH = 32
ORGANIZATIONS = 1_000
PER_SECOND = 100
WARM_UP = 20  # batches
PRICE_ID = UUID(int=1)
TENANTS = """
INSERT INTO accounts_organization (id, name, time_zone, created_at)
    SELECT gen_random_uuid(), 'acme-' || n, 'UTC', now() FROM generate_series(1, %(n)s) n;
INSERT INTO accounts_project (
        id, organization_id, name, allowed_service_tiers, allowed_tools, allows_store, allows_urls, created_at)
    SELECT gen_random_uuid(), id, 'website', '{}', '{}', true, true, now() FROM accounts_organization;
INSERT INTO accounts_apikey (id, project_id, name, hint, digest, pepper_version, allowed_models, allowed_endpoints,
        allowed_networks, tags, created_at, last_used_address, last_used_agent)
    SELECT gen_random_uuid(), id, 'bot', '', uuid_send(gen_random_uuid()), 1, '{}', '{}', '{}', '{}', now(), '', ''
    FROM accounts_project;
INSERT INTO billing_quota (
        id, organization_id, project_id, api_key_id, metric, period, limit_amount, is_hard, is_credit)
    SELECT gen_random_uuid(), p.organization_id, CASE WHEN level > 1 THEN p.id END, CASE WHEN level > 2 THEN k.id END,
        'cost', 'month', 1000000000000000, true, false
    FROM accounts_apikey k JOIN accounts_project p ON p.id = k.project_id CROSS JOIN generate_series(1, 3) level;
"""
OWNERS = """
SELECT p.organization_id, p.id, k.id FROM accounts_apikey k JOIN accounts_project p ON p.id = k.project_id ORDER BY k.id
"""
OPEN = "SELECT billing_open_windows(array_agg(scope_id)) FROM billing_quota"

Owner = tuple[UUID, UUID, UUID]


def main() -> int:
    parser = ArgumentParser(prog="python -m bench.money", description="What holding and settling cost.")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each figure (default: 5)")
    parser.add_argument("--json", action="store_true", help="print one JSON object, for machines")
    options = parser.parse_args()
    BUILD.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"money-{os.getpid()}-", dir=BUILD))
    server = PostgresServer(folder)
    server.start()
    try:
        found = _measured(database_url(folder), folder, options.seconds)
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(found) if options.json else _text(found))
    return 0


def _measured(url: str, folder: Path, seconds: float) -> dict[str, float]:
    environment = {**os.environ, "TOLLGATE_ENV": "test", "TOLLGATE_VAR": str(folder), "DATABASE_URL": url}
    subprocess.run([sys.executable, FOLDER.parent / "manage.py", "migrate", "-v", "0"], env=environment, check=True)
    with psycopg.connect(url, autocommit=True, options=OPTIONS) as connection:
        for statement in TENANTS.split(";\n")[:-1]:
            connection.execute(statement % {"n": ORGANIZATIONS})
        connection.execute("SET statement_timeout = 0")
        connection.execute(OPEN)
        connection.execute("VACUUM ANALYZE")  # which a server that has run for a while has done by itself
        owners: list[Owner] = connection.execute(OWNERS).fetchall()
        found: dict[str, float] = {}
        for name, some in (("spread", owners), ("hot", owners[:1])):
            pairs, pair_ms = _pairs(connection, some, seconds)
            found |= {f"{name}_pairs_per_second": pairs, f"{name}_postgresql_ms": pair_ms}
    for name, times in asyncio.run(_observed(url, folder, owners, seconds)).items():
        cuts = quantiles(times, n=100)
        found |= {f"{name}_p50_ms": cuts[49], f"{name}_p99_ms": cuts[98]}
    return found


def _pairs(connection: psycopg.Connection, owners: list[Owner], seconds: float) -> tuple[float, float]:
    """Pairs a second, and PostgreSQL's CPU-ms for one. Each call settles what the last one held."""
    calls = _calls(owners)
    for _ in range(WARM_UP):
        connection.execute(WRITE, next(calls), prepare=True)
    server = {"postgresql": _postmaster(connection)}
    spent, pairs, waited = cpu.spent_ms(server)["postgresql"], 0, 0.0
    while waited < seconds:
        parameters = next(calls)
        sent = time.monotonic()
        connection.execute(WRITE, parameters, prepare=True)
        waited += time.monotonic() - sent
        pairs += BATCH
    return pairs / waited, (cpu.spent_ms(server)["postgresql"] - spent) / pairs


def _postmaster(connection: psycopg.Connection) -> int:
    """The process that all of the server's are children of."""
    stat = Path(f"/proc/{connection.info.backend_pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[1])


def _calls(owners: list[Owner]) -> Iterator[list[str]]:
    held: list[Hold] = []
    number = 0
    while True:
        batch = Batch()
        waiter: asyncio.Future[None] = None  # type: ignore[assignment]  # nobody waits
        batch.ends = {hold.id: End(_end(hold), waiter, None) for hold in held}
        held = [_hold(owners[(number + n) % len(owners)]) for n in range(BATCH)]
        number += BATCH
        batch.holds = {hold.id: (hold, waiter) for hold in held}
        yield batch.parameters()


async def _observed(url: str, folder: Path, owners: list[Owner], seconds: float) -> dict[str, list[float]]:
    """Milliseconds of hold and settle, and of what they cannot be faster than."""
    ended = asyncio.Event()
    flushes = asyncio.create_task(probes.flushes(folder, ended))
    calls = asyncio.create_task(probes.empty_calls(url, ended))
    paced = await _paced(url, folder, owners, seconds)
    ended.set()
    return {"hold_and_settle": paced, "flush": await flushes, "empty_call": await calls}


async def _paced(url: str, folder: Path, owners: list[Owner], seconds: float) -> list[float]:
    """Milliseconds that hold and settle took together, of requests that come at random."""
    meter = Meter(url, Spool(folder / "spool", uuid4()), hold_seconds=5, settle_seconds=5, progress_seconds=10)
    meter.start()
    times: list[float] = []

    async def request(owner: Owner) -> None:
        hold = _hold(owner)
        began = time.perf_counter()
        await meter.hold(hold)
        meter.dispatched(hold.id)
        held = time.perf_counter()
        await asyncio.sleep(0.05)  # the answer
        answered = time.perf_counter()
        await meter.settle(_end(hold))
        times.append((held - began + time.perf_counter() - answered) * 1000)

    async with asyncio.TaskGroup() as group:
        for number in range(int(seconds * PER_SECOND)):
            group.create_task(request(owners[number % len(owners)]))
            await asyncio.sleep(random.expovariate(PER_SECOND))
    await meter.close(10)
    return times[PER_SECOND // 2 :]


def _hold(owner: Owner) -> Hold:
    organization_id, project_id, api_key_id = owner
    return Hold(
        id=uuid7(time.time_ns() // 1_000_000, os.urandom(10)), organization_id=organization_id, project_id=project_id,
        api_key_id=api_key_id, process_id=UUID(int=2), endpoint="responses", model="gpt-5.5", upstream_id=UUID(int=3),
        upstream="openai", upstream_model="gpt-5.5", price_id=PRICE_ID, stream=True, asked_service_tier="",
        client_request_id="", retry_count=0, request_bytes=750, hold_nano_usd=5_000_000, hold_tokens=17_000,
    )  # fmt: skip


def _end(hold: Hold) -> Settlement:
    return Settlement(
        id=hold.id, state="settled", usage_source="reported", status=200, response_id=f"resp_{hold.id.hex}",
        served_model="gpt-5.5-2026-04-23", service_tier="default", input_tokens=180, output_tokens=60,
        reported_usage={"input_tokens": 180, "output_tokens": 60, "total_tokens": 240}, cost_nano_usd=123_456,
        first_byte_ms=250, latency_ms=900,
    )  # fmt: skip


def _text(found: dict[str, float]) -> str:
    return "\n".join(
        [
            f"pairs of hold and settle in batches of {BATCH} on one connection, three quotas each:",
            *(
                f"  {what:28} {found[f'{name}_pairs_per_second']:>8,.0f}/s  "
                f"{found[f'{name}_postgresql_ms']:.3f} CPU-ms of PostgreSQL a pair"
                for name, what in (("spread", f"{ORGANIZATIONS:,} organizations"), ("hot", "one organization"))
            ),
            *(
                f"{what:36} p50 {found[f'{name}_p50_ms']:5.1f} ms, p99 {found[f'{name}_p99_ms']:5.1f} ms"
                for name, what in (
                    ("hold_and_settle", f"hold and settle at {PER_SECOND} requests/s:"),
                    ("flush", "  the disk meanwhile, a page flushed:"),
                    ("empty_call", "  an empty call meanwhile:"),
                )
            ),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
