"""What makes a response: the story of one request, top to bottom."""

from functools import partial

import msgspec
from msgspec.structs import replace

from accounts.authentication import KeyFacts, Scope
from gateway.admission import COMPACT, CREATE, Caller, Candidate, Wanted, admit
from gateway.body import json_body
from gateway.catalog import RouteFacts
from gateway.ownership.claim import Claim, owner_of
from gateway.ownership.naming import Named, known_of, refuse_unsupported
from gateway.permission import betas, permit
from gateway.request import RelayedAnswer, Request
from gateway.upstream.cache_keys import with_own_cache_key
from gateway.upstream.exchange import Call, start
from gateway.upstream.outcome import Outcome
from gateway.upstream.relay import Relay
from gateway.upstream.routing import first_usable
from gateway.views.entry import allows
from gateway.views.unbilled import unbilled
from gateway.wire.document import object_of
from gateway.wire.request import CreateRequest, create_of, with_fields, with_model
from gateway.wire.survey import survey


class Asked(msgspec.Struct, frozen=True):
    """What a tenant asks for, as it may go upstream. `is_stored`: the upstream will keep the answer."""

    fields: CreateRequest
    body: bytes
    betas: str
    named: Named
    is_stored: bool

    @property
    def model(self) -> str:
        return str(self.fields.model)

    @property
    def wanted(self) -> Wanted:
        return Wanted(self.fields, len(self.body), self.named.upstream_id, self.named.previous_tokens)


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
    asked = await _asked(request, key, "input_tokens")
    catalog = await runtime.snapshots.catalog_for(key.organization_id)
    model = catalog.model_for(asked.model, endpoint=CREATE, allowed=key.allowed_models)
    route = first_usable(model, asked.named.upstream_id)
    asked.named.check(route.upstream, runtime.harmless_ids)
    call = _upstream_call(request, "/responses/input_tokens", asked, route, asked.model in catalog.models)
    return unbilled(request, runtime.count_rooms, key, partial(start, runtime.transport, route, call))


async def _billed(request: Request, key: KeyFacts, endpoint: str, path: str) -> RelayedAnswer:
    runtime = request.runtime
    asked = await _asked(request, key, endpoint)
    catalog = await runtime.snapshots.catalog_for(key.organization_id)
    candidate = Candidate(_caller(request, key, endpoint), asked.wanted, catalog, runtime.allowances)
    route = candidate.route
    asked.named.check(route.upstream, runtime.harmless_ids)
    call = _upstream_call(request, path, asked, route, asked.model in catalog.models)
    call = with_own_cache_key(call, asked.fields, route.upstream, key.organization_id)
    count = partial(runtime.counts.count, key.organization_id, route, call)
    offer = await admit(candidate, bool(key.hard_metrics), runtime.meter.hold, count)
    if offer.fields:
        call = replace(call, body=with_fields(call.body, offer.fields))
    claim = Claim(
        runtime.ownership, owner_of(offer.admitted.hold), is_stored=asked.is_stored, named=asked.named.digests
    )
    outcome = Outcome(offer.admitted, runtime.meter, request.arrived, claim)
    relay = Relay(outcome, runtime.drains, runtime.max_event_bytes, runtime.keepalive_seconds)
    return RelayedAnswer(partial(relay.run, partial(start, runtime.transport, route, call)))


async def _asked(request: Request, key: KeyFacts, endpoint: str) -> Asked:
    """With nothing in it that is not allowed: InvalidRequest names what is. What it names is still to be checked."""
    body = await json_body(request)
    document = object_of(body)
    fields = create_of(document)
    refuse_unsupported(fields)
    found = survey(document)
    set_by_policy = permit(fields, found, key)
    if set_by_policy and endpoint == CREATE:  # the others store nothing, and refuse to be told so
        body = with_fields(body, set_by_policy)
    named = await known_of(found.references, key, request.runtime.ownership)
    is_stored = endpoint == CREATE and set_by_policy.get("store", fields.store) is not False
    return Asked(fields, body, betas(request.header(b"openai-beta"), key), named, is_stored)


def _caller(request: Request, key: KeyFacts, endpoint: str) -> Caller:
    return Caller(
        request_id=request.request_id,
        at=request.runtime.request_ids.now(),
        key=key,
        process_id=request.runtime.process_id,
        client_request_id=request.header(b"x-client-request-id"),
        retry_count=request.header(b"x-stainless-retry-count"),
        endpoint=endpoint,
    )


def _upstream_call(request: Request, path: str, asked: Asked, route: RouteFacts, is_model_ours: bool) -> Call:
    return Call(
        path=path,
        body=with_model(asked.body, route.upstream_model) if route.upstream_model else asked.body,
        request_id=request.client.request_id,
        stream=bool(asked.fields.stream),
        beta=asked.betas.encode(),
        query=request.query,
        is_model_ours=is_model_ours,
    )
