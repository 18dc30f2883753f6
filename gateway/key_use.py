"""When and from where each key was last used: gathered in the process, written now and then, never on the way."""

import asyncio
import logging
import time
from uuid import UUID

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

logger = logging.getLogger(__name__)

# Rows are locked in the order of their ids: processes write the same keys at the same time. When it was is said as so
# many seconds ago, so that it is told by the database's clock: a replica's own may be off.
WRITE = """
WITH used AS (
    SELECT id, now() - make_interval(secs => ago) AS at, address, agent
    FROM unnest(%s::uuid[], %s::float8[], %s::text[], %s::text[]) AS u(id, ago, address, agent)
), locked AS MATERIALIZED (
    SELECT k.id FROM accounts_apikey k WHERE k.id IN (SELECT used.id FROM used) ORDER BY k.id FOR NO KEY UPDATE
)
UPDATE accounts_apikey k
SET last_used_at = u.at, last_used_address = u.address, last_used_agent = u.agent
FROM used u JOIN locked USING (id)
WHERE k.id = u.id AND (k.last_used_at IS NULL OR k.last_used_at < u.at)
"""


class KeyUse:
    """The last use of each key since the last write."""

    def __init__(self, pool: AsyncConnectionPool, flush_seconds: float) -> None:
        self._pool = pool
        self._flush_seconds = flush_seconds
        self._uses: dict[UUID, tuple[float, str, str]] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._flush_now_and_then(), name="key use")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=1)
        await self._flush()

    def used(self, key_id: UUID, address: str, agent: str) -> None:
        self._uses[key_id] = (time.monotonic(), address[:64], agent[:200].replace("\0", ""))

    async def _flush_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(self._flush_seconds)
            await self._flush()

    async def _flush(self) -> None:
        uses, self._uses = self._uses, {}
        if not uses:
            return
        moments, addresses, agents = (list(column) for column in zip(*uses.values(), strict=True))
        try:
            async with self._pool.connection() as connection:
                ago = [time.monotonic() - moment for moment in moments]
                await connection.execute(WRITE, [list(uses), ago, addresses, agents])
        except (psycopg.Error, PoolTimeout, OSError) as error:
            self._uses = uses | self._uses
            logger.warning("the last use of %d keys could not be written yet (%s)", len(uses), type(error).__name__)
