"""All that one key's request needs, read once, cached, revocable.

A cache entry is as old as the revision it was read under: the revision is read in the statement that reads the data,
and polled each second; when it has risen, everything is dropped. Entries end after a minute at any rate.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast
from uuid import UUID

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from accounts.authentication import KeyFacts
from accounts.keys import digest
from accounts.peppers import peppers
from billing.metering.request_ids import RequestIds
from gateway.catalog import Catalog
from gateway.snapshot_queries import CATALOG, KEY, REVISION, catalog_of, key_facts_of

logger = logging.getLogger(__name__)

T = TypeVar("T")
MOST_KEYS = 100_000
CATALOG_ENTRY = b"catalog"
ANSWER_SECONDS = 3.0  # for who waits; longer than the pool waits for a connection


class SnapshotUnavailable(Exception):
    """The database could not be asked and nothing recent enough is cached: our fault, not the caller's."""


class Snapshots:
    """The cache of one process: what is known of each key, and the catalog."""

    def __init__(
        self, pool: AsyncConnectionPool, ids: RequestIds, *, poll_seconds: float, max_age_seconds: float
    ) -> None:
        self._pool = pool
        self._ids = ids
        self._poll_seconds = poll_seconds
        self._max_age_seconds = max_age_seconds
        self._peppers = peppers()
        self._revision = 0
        self._entries: dict[bytes, tuple[float, Any]] = {}
        self._loading: dict[bytes, asyncio.Task[Any]] = {}
        self._poll: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns when the database's clock is known, or cannot be: the first request's id is made by it."""
        await self._read_revision()
        self._poll = asyncio.create_task(self._follow_revision(), name="revision poll")

    async def close(self) -> None:
        if self._poll is not None:
            self._poll.cancel()
            await asyncio.wait([self._poll], timeout=1)

    async def key(self, secret: str) -> KeyFacts | None:
        """What is known of a key; None where it was never issued. SnapshotUnavailable where that cannot be told."""
        candidates = [digest(secret, pepper) for pepper in self._peppers]
        return await self._entry(candidates[0], lambda: self._load_key(candidates))

    async def catalog(self) -> Catalog:
        return await self._entry(CATALOG_ENTRY, self._load_catalog)

    async def catalog_for(self, organization_id: UUID) -> Catalog:
        """What there is for this organization."""
        return (await self.catalog()).seen_by(organization_id)

    async def _entry(self, name: bytes, load: Callable[[], Awaitable[tuple[int, T]]]) -> T:
        cached = self._entries.get(name)
        if cached is not None and time.monotonic() - cached[0] < self._max_age_seconds:
            return cast("T", cached[1])
        loading = self._loading.get(name)
        if loading is None:  # one asks for all who miss at once, and goes on whoever of them leaves
            loading = asyncio.create_task(self._load(name, load))
            self._loading[name] = loading
            loading.add_done_callback(lambda loaded: self._is_loaded(name, loaded))
        await asyncio.wait([loading], timeout=ANSWER_SECONDS)
        if not loading.done():
            raise SnapshotUnavailable("the database hangs")
        return cast("T", loading.result())

    def _is_loaded(self, name: bytes, loaded: asyncio.Task[Any]) -> None:
        if self._loading.get(name) is loaded:
            del self._loading[name]
        if not loaded.cancelled():
            loaded.exception()  # nobody may be left to look at it

    async def _load(self, name: bytes, load: Callable[[], Awaitable[tuple[int, T]]]) -> T:
        started = time.monotonic()
        try:
            revision, value = await load()
        except (psycopg.Error, PoolTimeout, OSError) as error:
            raise SnapshotUnavailable(type(error).__name__) from error
        self._saw(revision)
        if revision == self._revision:
            if len(self._entries) >= MOST_KEYS:  # names come from outside
                del self._entries[next(iter(self._entries))]
            self._entries[name] = (started, value)
        return value

    def _saw(self, revision: int) -> None:
        if revision > self._revision:
            self._entries.clear()
            self._loading.clear()  # who asks from now on must not get what was read before
            self._revision = revision

    async def _load_key(self, candidates: list[bytes]) -> tuple[int, KeyFacts | None]:
        async with self._pool.connection() as connection:
            row = await (await connection.execute(KEY, [candidates])).fetchone()
        assert row is not None  # the revision is always there
        return row[0], key_facts_of(row[1:]) if row[1] is not None else None

    async def _load_catalog(self) -> tuple[int, Catalog]:
        async with self._pool.connection() as connection:
            row = await (await connection.execute(CATALOG)).fetchone()
        assert row is not None
        return row[0], catalog_of(*row[1:])

    async def _follow_revision(self) -> None:
        while True:
            await asyncio.sleep(self._poll_seconds)
            await self._read_revision()

    async def _read_revision(self) -> None:
        try:
            async with self._pool.connection() as connection:
                row = await (await connection.execute(REVISION)).fetchone()
            assert row is not None
            self._saw(row[0])
            self._ids.learn(float(row[1]))
        except Exception as error:  # whatever it is, the next poll must come
            logger.warning("the revision could not be read (%s)", type(error).__name__)
