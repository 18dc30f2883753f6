"""What is done with a response that was made before, by its id: for its project alone, at its upstream, in no books."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from accounts.authentication import KeyFacts, Scope
from gateway.catalog import RouteFacts
from gateway.ownership.owners import Owner
from gateway.refusals import ResponseNotFound
from gateway.request import RelayedAnswer, Request
from gateway.upstream.exchange import Call, Exchange, start
from gateway.upstream.failures import Answered, Unusable
from gateway.upstream.lookup import RESPONSE_ID
from gateway.upstream.relay import Drains
from gateway.views.entry import allows
from gateway.views.unbilled import NOBODY_READS_ON, unbilled
from gateway.wire.cache_key import CacheKey


@allows(Scope.READ)
async def retrieve_response(request: Request, key: KeyFacts, response_id: str) -> RelayedAnswer:
    """GET /v1/responses/{id}; with `stream=true` its events once more, which are billed no more than the rest."""
    stored = await _stored(request, key, response_id)
    return stored.answer("GET")


@allows(Scope.READ)
async def list_input_items(request: Request, key: KeyFacts, response_id: str) -> RelayedAnswer:
    """GET /v1/responses/{id}/input_items"""
    stored = await _stored(request, key, response_id)
    return stored.answer("GET", "/input_items")


@allows(Scope.RESPONSES)
async def cancel_response(request: Request, key: KeyFacts, response_id: str) -> RelayedAnswer:
    """POST /v1/responses/{id}/cancel; whether there is anything to cancel, the upstream says."""
    stored = await _stored(request, key, response_id)
    return stored.answer("POST", "/cancel", drains=request.runtime.drains)


@allows(Scope.RESPONSES)
async def delete_response(request: Request, key: KeyFacts, response_id: str) -> RelayedAnswer:
    """DELETE /v1/responses/{id}: unknown once its upstream has deleted it, before anybody is told so."""
    stored = await _stored(request, key, response_id)
    forget = partial(request.runtime.ownership.deleted, response_id, stored.owner)
    return stored.answer("DELETE", drains=request.runtime.drains, then=forget)


async def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Stored:
    """A response of the caller's own project."""

    request: Request
    key: KeyFacts
    response_id: str
    owner: Owner
    route: RouteFacts

    def answer(
        self,
        method: str,
        part: str = "",
        *,
        drains: Drains = NOBODY_READS_ON,
        then: Callable[[], Awaitable[None]] = _nothing,
    ) -> RelayedAnswer:
        """What the upstream says; `then` is done when it has begun to say something good."""
        begin = partial(self._begun, self._call(method, part), then)
        return unbilled(self.request, self.request.runtime.read_rooms, self.key, begin, drains)

    async def _begun(self, call: Call, then: Callable[[], Awaitable[None]], sent: Callable[[], None]) -> Exchange:
        try:
            exchange = await start(self.request.runtime.transport, self.route, call, sent)
        except Answered as failure:
            if failure.is_not_found:
                raise ResponseNotFound(self.response_id) from failure
            raise
        try:
            await then()
        except BaseException:
            exchange.close()  # nobody else has it yet
            raise
        return exchange

    def _call(self, method: str, part: str) -> Call:
        query = self.request.query
        return Call(
            path=f"/responses/{self.response_id}{part}",
            body=b"",
            request_id=self.request.client.request_id,
            stream=b"stream=true" in query.split(b"&"),
            beta=self.request.header(b"openai-beta").encode("latin-1"),
            query=query,
            method=method,
            cache_key=CacheKey(self.owner.organization_id) if self.route.upstream.namespaces_cache_keys else None,
        )


async def _stored(request: Request, key: KeyFacts, response_id: str) -> Stored:
    """ResponseNotFound where the key's project has no such response: nobody has, or another, by the same look-up."""
    if not RESPONSE_ID.fullmatch(response_id):
        raise ResponseNotFound(response_id)
    owner = await request.runtime.ownership.owned(response_id, key.project_id)
    if owner is None:
        raise ResponseNotFound(response_id)
    upstream = (await request.runtime.snapshots.catalog_for(key.organization_id)).upstreams.get(owner.upstream_id)
    if upstream is None:
        raise Unusable("the upstream that has a stored response is disabled")
    return Stored(request, key, response_id, owner, RouteFacts(upstream, ""))
