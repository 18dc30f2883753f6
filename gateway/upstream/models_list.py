"""The upstreams' own lists of models: what the patterns of the catalog stand for. Cached for minutes."""

import asyncio
import logging
import time
from uuid import UUID

import httpx

from accounts.patterns import matches
from gateway.catalog import Catalog, ModelFacts, UpstreamFacts, is_allowed
from gateway.sealing import CannotUnseal
from gateway.upstream.credentials import authorization

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 5.0


class ModelLists:
    """Model names by upstream. An upstream that does not answer keeps the list it gave before."""

    def __init__(self, transport: httpx.AsyncBaseTransport, max_age_seconds: float) -> None:
        self._client = httpx.AsyncClient(transport=transport, timeout=ANSWER_SECONDS)
        self._max_age_seconds = max_age_seconds
        self._lists: dict[UUID, tuple[float, tuple[str, ...]]] = {}
        self._locks: dict[UUID, asyncio.Lock] = {}

    async def names(self, upstream: UpstreamFacts) -> tuple[str, ...]:
        """The names that `GET /models` of the upstream lists; empty where it never answered."""
        async with self._locks.setdefault(upstream.id, asyncio.Lock()):  # one asks for all
            read_at, names = self._lists.get(upstream.id, (float("-inf"), ()))
            if time.monotonic() - read_at > self._max_age_seconds:
                names = await self._asked(upstream) or names
                self._lists[upstream.id] = (time.monotonic(), names)
            return names

    async def _asked(self, upstream: UpstreamFacts) -> tuple[str, ...]:
        try:
            opening = authorization(upstream.id, upstream.sealed_key)
            headers = {"Authorization": opening.decode()} if opening else {}
            async with asyncio.timeout(ANSWER_SECONDS):
                response = await self._client.get(
                    f"{upstream.base_url}/models",
                    headers={**headers, "Accept-Encoding": "identity"},
                    extensions={"origin": upstream.origin},
                )
            entries = response.raise_for_status().json()["data"]
            return tuple(entry["id"] for entry in entries if isinstance(entry["id"], str))
        except (httpx.HTTPError, CannotUnseal, TimeoutError, ValueError, KeyError, TypeError) as error:
            logger.warning("upstream %s gave no list of models (%s)", upstream.name, type(error).__name__)
            return ()


Allowed = tuple[str, ...]
Endpoints = tuple[str, ...]


async def usable_models(catalog: Catalog, lists: ModelLists, allowed: Allowed) -> list[tuple[str, Endpoints]]:
    """The names that a key with `allowed` patterns may use, each with the endpoints it is served on; sorted."""
    usable: dict[str, Endpoints] = {}
    for model in catalog.models.values():
        for name in await _names_of(model, lists):
            serving = catalog.serving(name)
            if serving is not None and serving.routes and is_allowed(name, allowed):
                usable[name] = serving.endpoints
    return sorted(usable.items())


async def usable_model(catalog: Catalog, lists: ModelLists, allowed: Allowed, name: str) -> Endpoints | None:
    """The endpoints that `name` is served on; None where `usable_models` would not list it."""
    model = catalog.serving(name)
    if model is None or not model.routes or not is_allowed(name, allowed):
        return None
    return model.endpoints if name in await _names_of(model, lists) else None


async def _names_of(model: ModelFacts, lists: ModelLists) -> list[str]:
    if "*" not in model.name:
        return [model.name]
    listed = [await lists.names(route.upstream) for route in model.routes]
    return [name for names in listed for name in names if matches(model.name, name)]
