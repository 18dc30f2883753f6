"""What an upstream says of an answer whose process died: asked by the answer's id. Only a complete answer counts."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable

import httpx

from billing.record import Settlement
from billing.recovery.orphan import Basis, Orphan
from gateway.catalog import Catalog, UpstreamFacts
from gateway.sealing import CannotUnseal
from gateway.upstream.credentials import authorization
from gateway.upstream.outcome import settled
from gateway.wire.tap import Reading, read_stored

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 10.0
AT_ONCE = 16
RESPONSE_ID = re.compile(r"[A-Za-z0-9_-]{1,512}")


class Lookup:
    """The truth and the prices, as billing/recovery asks for them."""

    def __init__(self, transport: httpx.AsyncBaseTransport, catalog: Callable[[], Awaitable[Catalog]]) -> None:
        self._client = httpx.AsyncClient(transport=transport, timeout=ANSWER_SECONDS)
        self._catalog = catalog
        self._room = asyncio.Semaphore(AT_ONCE)

    async def basis_of(self, orphan: Orphan) -> Basis:
        """What an estimate of the orphan goes by."""
        catalog = await self._catalog()
        return Basis(catalog.prices.sheet(orphan.price_id), catalog.ratio_of(orphan.model))

    async def truth(self, orphan: Orphan) -> Settlement | None:
        """The answer's usage as a settlement; None where the upstream cannot say, or it is not over."""
        catalog = await self._catalog()
        upstream = catalog.upstreams.get(orphan.upstream_id)
        if upstream is None or not RESPONSE_ID.fullmatch(orphan.response_id):
            return None
        async with self._room:
            reading = await self._asked(upstream, orphan.response_id)
        if reading is None or reading.usage is None or reading.response_id != orphan.response_id:
            return None
        return settled(orphan.id, reading, "recovered", catalog.prices.sheet(orphan.price_id))

    async def _asked(self, upstream: UpstreamFacts, response_id: str) -> Reading | None:
        try:
            opening = authorization(upstream.id, upstream.sealed_key)
            headers = {"Authorization": opening.decode()} if opening else {}
            async with asyncio.timeout(ANSWER_SECONDS):
                response = await self._client.get(
                    f"{upstream.base_url}/responses/{response_id}",
                    headers={**headers, "Accept-Encoding": "identity"},
                    extensions={"origin": upstream.origin},
                )
        except (httpx.HTTPError, CannotUnseal, TimeoutError) as error:
            logger.warning("upstream %s was asked for an answer in vain (%s)", upstream.name, type(error).__name__)
            return None
        return read_stored(response.content) if response.status_code == 200 else None
