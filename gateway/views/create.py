"""What makes a response: the story of one request, top to bottom."""

from dataclasses import replace
from functools import partial

from django.conf import settings

from accounts.authentication import KeyFacts, Scope
from gateway.admission import COMPACT, CREATE, Asked, Caller, Candidate, admit
from gateway.body import json_body
from gateway.catalog import RouteFacts
from gateway.dataplane import RelayedAnswer, Request
from gateway.ownership.claim import Claim, owner_of
from gateway.ownership.naming import Named, named_in, refuse_unsupported
from gateway.runtime import Runtime
from gateway.upstream.cache_keys import with_own_cache_key
from gateway.upstream.exchange import Call, start
from gateway.upstream.outcome import Outcome
from gateway.upstream.relay import Relay
from gateway.upstream.routing import first_usable
from gateway.views.entry import allows
from gateway.views.unbilled import unbilled
from gateway.wire.document import object_of
from gateway.wire.request import CreateRequest, create_of, with_fields, with_model


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
    body = await json_body(request)
    asked, named = await _asked(body, key, runtime)
    catalog = await runtime.snapshots.catalog_for(key.organization_id)
    model = catalog.model_for(str(asked.call.model), endpoint=CREATE, allowed=key.allowed_models)
    route = first_usable(model, asked.upstream_id)
    named.check(route.upstream, settings.HARMLESS_IDS)
    call = _upstream_call(request, "/responses/input_tokens", asked.call, body, route)
    return unbilled(runtime.count_rooms, key, partial(start, runtime.transport, route, call))


async def _billed(request: Request, key: KeyFacts, endpoint: str, path: str) -> RelayedAnswer:
    runtime = request.runtime
    body = await json_body(request)
    asked, named = await _asked(body, key, runtime)
    catalog = await runtime.snapshots.catalog_for(key.organization_id)
    candidate = Candidate(_caller(request, key, endpoint), asked, catalog, runtime.allowances)
    named.check(candidate.route.upstream, settings.HARMLESS_IDS)
    call = _upstream_call(request, path, asked.call, body, candidate.route)
    call = with_own_cache_key(call, asked.call, candidate.route.upstream, key.organization_id)
    count = partial(runtime.counts.count, key.organization_id, candidate.route, call)
    offer = await admit(candidate, bool(key.hard_metrics), runtime.meter.hold, count)
    call = replace(call, body=with_fields(call.body, offer.fields)) if offer.fields else call
    claim = Claim(runtime.ownership, owner_of(offer.admitted.hold), is_stored=asked.call.store is not False)
    outcome = Outcome(offer.admitted, runtime.meter, request.arrived, claim)
    relay = Relay(outcome, runtime.drains, settings.MAX_EVENT_BYTES)
    return RelayedAnswer(partial(relay.run, partial(start, runtime.transport, candidate.route, call)))


async def _asked(body: bytes, key: KeyFacts, runtime: Runtime) -> tuple[Asked, Named]:
    """What is asked for, and what it names."""
    fields = object_of(body)
    call = create_of(fields)
    refuse_unsupported(call)
    named = await named_in(fields, key, runtime.ownership)
    return Asked(call, len(body), named.upstream_id, named.previous_tokens), named


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


def _upstream_call(request: Request, path: str, call: CreateRequest, body: bytes, route: RouteFacts) -> Call:
    return Call(
        path=path,
        body=with_model(body, route.upstream_model) if route.upstream_model else body,
        request_id=request.request_id,
        stream=bool(call.stream),
        beta=request.headers.get("openai-beta", "").encode(),
        query=request.query,
    )
