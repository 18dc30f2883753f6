"""What makes a response: the story of one request, top to bottom."""

from dataclasses import dataclass, replace
from functools import partial

from django.conf import settings

from accounts.authentication import KeyFacts, Scope
from gateway.admission import COMPACT, CREATE, Caller, Candidate, admit
from gateway.body import json_body
from gateway.catalog import RouteFacts
from gateway.dataplane import RelayedAnswer, Request
from gateway.ownership.naming import refuse_stored_objects
from gateway.permission import betas, permit
from gateway.upstream.exchange import Call, start
from gateway.upstream.outcome import Outcome
from gateway.upstream.relay import Relay
from gateway.upstream.routing import first_usable
from gateway.views.entry import allows
from gateway.views.unbilled import unbilled
from gateway.wire.request import CreateRequest, parse_create, with_fields, with_model


@dataclass(frozen=True, slots=True)
class Asked:
    """What a tenant asks for, as it may go upstream."""

    fields: CreateRequest
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
    asked = await _asked(request, key)
    catalog = await runtime.snapshots.catalog()
    model = catalog.model_for(str(asked.fields.model), endpoint=CREATE, allowed=key.allowed_models)
    route = first_usable(model)
    call = _upstream_call(request, "/responses/input_tokens", asked, route)
    return unbilled(runtime.count_rooms, key, partial(start, runtime.transport, route, call))


async def _billed(request: Request, key: KeyFacts, endpoint: str, path: str) -> RelayedAnswer:
    runtime = request.runtime
    asked = await _asked(request, key)
    catalog = await runtime.snapshots.catalog()
    caller = _caller(request, key, endpoint)
    candidate = Candidate(caller, asked.fields, len(asked.body), catalog, runtime.allowances)
    call = _upstream_call(request, path, asked, candidate.route)
    call = replace(call, is_model_ours=str(asked.fields.model) in catalog.models)
    count = partial(runtime.counts.count, key.organization_id, candidate.route, call)
    offer = await admit(candidate, bool(key.hard_metrics), runtime.meter.hold, count)
    call = replace(call, body=with_fields(call.body, offer.fields)) if offer.fields else call
    outcome = Outcome(offer.admitted, runtime.meter, request.arrived)
    relay = Relay(outcome, runtime.drains, settings.MAX_EVENT_BYTES, settings.KEEPALIVE_SECONDS)
    return RelayedAnswer(partial(relay.run, partial(start, runtime.transport, candidate.route, call)))


async def _asked(request: Request, key: KeyFacts) -> Asked:
    """With nothing in it that may not be named or is not allowed; InvalidRequest names what is."""
    body = await json_body(request)
    fields = parse_create(body)
    refuse_stored_objects(fields)
    if set_by_policy := permit(fields, key):
        body = with_fields(body, set_by_policy)
    return Asked(fields, body, betas(request.headers.get("openai-beta", ""), key))


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


def _upstream_call(request: Request, path: str, asked: Asked, route: RouteFacts) -> Call:
    return Call(
        path=path,
        body=with_model(asked.body, route.upstream_model) if route.upstream_model else asked.body,
        request_id=request.request_id,
        stream=bool(asked.fields.stream),
        beta=asked.betas.encode(),
        query=request.query,
    )
