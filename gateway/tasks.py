"""Celery's shells around what needs the upstreams."""

import asyncio

import psycopg
from celery import shared_task
from django.conf import settings

from billing import faults
from billing.record import Settlement
from billing.recovery import reaping
from billing.recovery.orphan import Orphan, end_of
from gateway.catalog import Catalog
from gateway.snapshot_queries import CATALOG, catalog_of
from gateway.upstream.lookup import Lookup
from gateway.upstream.transport import UpstreamTransport


@shared_task
def reap_lost_hosts() -> None:
    """Ends what hosts left open that are gone for good."""
    reaping.look(settings.HOST_LOOK_SECONDS)
    while orphans := reaping.orphans(settings.HOST_SILENT_SECONDS):
        ends = asyncio.run(_ends_of(orphans))
        faults.reach("reap.entry")
        if not reaping.end(ends):
            break
    reaping.close(settings.HOST_SILENT_SECONDS)


async def _ends_of(orphans: list[Orphan]) -> list[Settlement]:
    async with UpstreamTransport(
        connect_seconds=settings.UPSTREAM_CONNECT_SECONDS, read_seconds=settings.UPSTREAM_READ_SECONDS,
        most_connections=settings.UPSTREAM_CONNECTIONS,
    ) as transport:  # fmt: skip
        catalog = await _catalog()

        async def same() -> Catalog:
            return catalog

        lookup = Lookup(transport, same)
        return await asyncio.gather(*(end_of(orphan, lookup.truth, lookup.basis_of, "host_lost") for orphan in orphans))


async def _catalog() -> Catalog:
    async with await psycopg.AsyncConnection.connect(
        settings.DATABASE_URL, autocommit=True, options="-c bytea_output=hex"
    ) as connection:
        row = await (await connection.execute(CATALOG)).fetchone()
    assert row is not None  # the revision is always there
    return catalog_of(*row[1:])
