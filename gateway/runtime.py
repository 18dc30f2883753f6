"""What a gateway process has for as long as it lives: its connections, its cache, its lane to the books."""

import asyncio
import logging
import uuid
from typing import Self

from django.conf import settings
from psycopg_pool import AsyncConnectionPool

from billing import faults
from billing.metering.meter import Meter
from billing.metering.request_ids import RequestIds
from billing.recovery.replay import Replay
from billing.recovery.upkeep import Intervals, Upkeep
from billing.spool.folder import host_id
from billing.spool.writer import Spool
from gateway.admission import Allowances
from gateway.key_use import KeyUse
from gateway.ownership.owners import Ownership
from gateway.snapshot import Snapshots
from gateway.upstream.count import Counts
from gateway.upstream.lookup import Lookup
from gateway.upstream.models_list import ModelLists
from gateway.upstream.relay import Drains
from gateway.upstream.transport import UpstreamTransport
from gateway.upstream.unbilled import Rooms

LAST_WRITES_SECONDS = 20  # after the drain; what is not written by then is left in the spool

logger = logging.getLogger(__name__)


class Runtime:
    """Made when the server starts, inside its event loop, and closed when it has drained."""

    def __init__(self) -> None:
        self.process_id = uuid.uuid4()
        # Read once: each look at Django's settings takes longer than most of what a request does with them.
        self.max_body_bytes: int = settings.MAX_BODY_BYTES
        self.max_event_bytes: int = settings.MAX_EVENT_BYTES
        self.keepalive_seconds: float = settings.KEEPALIVE_SECONDS
        self.harmless_ids: frozenset[str] = frozenset(settings.HARMLESS_IDS)
        self.request_ids = RequestIds()
        self.pool = _pool()
        self.snapshots = Snapshots(
            self.pool, self.request_ids,
            poll_seconds=settings.REVISION_POLL_SECONDS, max_age_seconds=settings.SNAPSHOT_MAX_AGE_SECONDS,
        )  # fmt: skip
        spool = Spool(settings.SPOOL_DIR, self.process_id, max_bytes=settings.SPOOL_BYTES)
        self.meter = Meter(
            settings.DATABASE_URL, spool,
            hold_seconds=settings.HOLD_SECONDS, settle_seconds=settings.SETTLE_SECONDS,
            progress_seconds=settings.PROGRESS_SECONDS,
        )  # fmt: skip
        self.ownership = Ownership(
            settings.DATABASE_URL, spool, own_seconds=settings.SETTLE_SECONDS, answer_seconds=settings.HOLD_SECONDS
        )
        self.key_use = KeyUse(self.pool, settings.KEY_USE_FLUSH_SECONDS)
        self.transport = UpstreamTransport(
            connect_seconds=settings.UPSTREAM_CONNECT_SECONDS,
            read_seconds=settings.UPSTREAM_READ_SECONDS,
            most_connections=settings.UPSTREAM_CONNECTIONS,
        )
        self.model_lists = ModelLists(self.transport, settings.UPSTREAM_MODELS_SECONDS)
        lookup = Lookup(self.transport, self.snapshots.catalog)
        replay = Replay(settings.SPOOL_DIR, self.pool, self.meter.recover, lookup.truth, lookup.basis_of)
        self.upkeep = Upkeep(
            self.process_id, host_id(settings.SPOOL_DIR), self.pool, self.meter,
            replay.with_owners(self.ownership.write_again),
        )  # fmt: skip
        self.counts = Counts(self.transport, settings.COUNT_SECONDS)
        self.count_rooms, self.read_rooms = Rooms(settings.COUNTS_AT_ONCE), Rooms(settings.READS_AT_ONCE)
        self.allowances = Allowances(
            settings.DEFAULT_OUTPUT_TOKENS, settings.DEFAULT_TOOL_CALLS, settings.TOOL_INPUT_TOKENS
        )
        self.drains = Drains(settings.DRAIN_SECONDS, settings.DRAIN_OUTPUT_TOKENS, settings.DRAIN_STREAMS)

    async def start(self) -> Self:
        faults.arm(settings.FAULTS)
        await self.pool.open()
        await self.snapshots.start()
        self.meter.start()
        self.ownership.start()
        self.key_use.start()
        self.upkeep.start(Intervals(settings.HEARTBEAT_SECONDS, settings.RECOVERY_SECONDS, settings.AUDIT_SECONDS))
        return self

    async def close(self) -> None:
        """Ownership and the meter first: what is still to be written needs nothing but their own connections."""
        await asyncio.sleep(0)  # tasks that were just cancelled hand in their endings
        await self.upkeep.pause()
        until = asyncio.get_running_loop().time() + LAST_WRITES_SECONDS
        await self.ownership.close(LAST_WRITES_SECONDS)
        await self.meter.close(max(0.0, until - asyncio.get_running_loop().time()))  # and with it the spool of both
        await self.upkeep.close()
        await self.key_use.close()
        await self.snapshots.close()
        await self.transport.aclose()
        await self.pool.close(timeout=2.0)


def _pool() -> AsyncConnectionPool:
    """For what no request waits for, and for what one does where nothing is cached; not open yet."""
    return AsyncConnectionPool(
        settings.DATABASE_URL, min_size=1, max_size=4, open=False, timeout=2.0,
        # Given up soon, so that whoever asks next tries anew: the pool's own pauses double to minutes in an outage.
        reconnect_timeout=1.0,
        kwargs={
            "connect_timeout": 5,
            "autocommit": True, "application_name": "tollgate gateway",
            "options": "-c bytea_output=hex",  # as the catalog's JSON is read
            "tcp_user_timeout": 5000,  # ms; a database that vanished is not waited for
        },
    )  # fmt: skip
