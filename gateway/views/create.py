"""What makes a response: the story of one request, top to bottom."""

from dataclasses import dataclass, replace
from functools import partial

from django.conf import settings

from accounts.authentication import KeyFacts, Scope
from gateway.admission import COMPACT, CREATE, Asked, Caller, Candidate, admit
from gateway.body import json_body
from gateway.catalog import RouteFacts
from gateway.dataplane import RelayedAnswer, Request
from gateway.ownership.claim import Claim, owner_of
from gateway.ownership.naming import Named, named_in, refuse_unsupported
from gateway.permission import betas, permit
from gateway.upstream.cache_keys import with_own_cache_key
from gateway.upstream.exchange import Call, start
from gateway.upstream.outcome import Outcome
from gateway.upstream.relay import Relay
from gateway.upstream.routing import first_usable
from gateway.views.entry import allows
from gateway.views.unbilled import unbilled
from gateway.wire.document import object_of
from gateway.wire.request import create_of, with_fields, with_model


@dataclass(frozen=True, slots=True)
class Incoming:
    """What a tenant asks for, what it names, and its body and betas as they may go upstream."""

    asked: Asked
    named: Named
    body: bytes
    betas: str


@allows(Scope.RESPONSES)
async def create_response(request: Request, key: KeyFacts) -> RelayedAnswer:
    """POST /v1/responses, streamed or not."""
    return await _billed(request, key, CREATE, "/responses")


@allows(Scope.RESPONSES)
async def compact_response(request: Request, key: KeyFacts) -> RelayedAnswer:
    """POST /v1/responses/compact: a context made shorter, billed as an answer is."""
    return await _billed(request, key, COMPACT, "/responses/compact")


@allows(Scope.RESPONSES)
async def count_input_tokens(request: Request, key: KeyFacts) -> RelayedAnswer:
    """POST /v1/responses/input_tokens: free, and few at once for an organization."""
    runtime = request.runtime
    incoming = await _incoming(request, key, "input_tokens")
    catalog = await runtime.snapshots.catalog_for(key.organization_id)
    name = str(incoming.asked.call.model)
    model = catalog.model_for(name, endpoint=CREATE, allowed=key.allowed_models)
    route = first_usable(model, incoming.asked.upstream_id)
    incoming.named.check(route.upstream, settings.HARMLESS_IDS)
    call = _upstream_call(request, "/responses/input_tokens", incoming, route)
    call = replace(call, is_model_ours=name in catalog.models)
    return unbilled(runtime.count_rooms, key, partial(start, runtime.transport, route, call))


async def _billed(request: Request, key: KeyFacts, endpoint: str, path: str) -> RelayedAnswer:
    runtime = request.runtime
    incoming = await _incoming(request, key, endpoint)
    asked = incoming.asked
    catalog = await runtime.snapshots.catalog_for(key.organization_id)
    candidate = Candidate(_caller(request, key, endpoint), asked, catalog, runtime.allowances)
    incoming.named.check(candidate.route.upstream, settings.HARMLESS_IDS)
    call = _upstream_call(request, path, incoming, candidate.route)
    call = replace(call, is_model_ours=str(asked.call.model) in catalog.models)
    call = with_own_cache_key(call, asked.call, candidate.route.upstream, key.organization_id)
    count = partial(runtime.counts.count, key.organization_id, candidate.route, call)
    offer = await admit(candidate, bool(key.hard_metrics), runtime.meter.hold, count)
    call = replace(call, body=with_fields(call.body, offer.fields)) if offer.fields else call
    claim = Claim(runtime.ownership, owner_of(offer.admitted.hold), is_stored=asked.call.store is not False)
    outcome = Outcome(offer.admitted, runtime.meter, request.arrived, claim)
    relay = Relay(outcome, runtime.drains, settings.MAX_EVENT_BYTES, settings.KEEPALIVE_SECONDS)
    return RelayedAnswer(partial(relay.run, partial(start, runtime.transport, candidate.route, call)))


async def _incoming(request: Request, key: KeyFacts, endpoint: str) -> Incoming:
    """InvalidRequest names what it may not ask for, or name."""
    body = await json_body(request)
    fields = object_of(body)
    call = create_of(fields)
    refuse_unsupported(call)
    set_by_policy = permit(call, key)
    if set_by_policy and endpoint == CREATE:  # the others store nothing, and refuse to be told so
        body = with_fields(body, set_by_policy)
    named = await named_in(fields, key, request.runtime.ownership)
    asked = Asked(call, len(body), named.upstream_id, named.previous_tokens)
    return Incoming(asked, named, body, betas(request.headers.get("openai-beta", ""), key))


def _caller(request: Request, key: KeyFacts, endpoint: str) -> Caller:
    return Caller(
        request_id=request.request_id,
        at=request.runtime.request_ids.now(),
        key=key,
        process_id=request.runtime.process_id,
        client_request_id=request.headers.get("x-client-request-id", ""),
        retry_count=request.headers.get("x-stainless-retry-count", ""),
        endpoint=endpoint,
    )


def _upstream_call(request: Request, path: str, incoming: Incoming, route: RouteFacts) -> Call:
    return Call(
        path=path,
        body=with_model(incoming.body, route.upstream_model) if route.upstream_model else incoming.body,
        request_id=request.request_id,
        stream=bool(incoming.asked.call.stream),
        beta=incoming.betas.encode(),
        query=request.query,
    )
