"""What makes a response: the story of one request, top to bottom."""

from dataclasses import replace
from functools import partial

from django.conf import settings

from accounts.authentication import KeyFacts, Scope
from gateway.admission import COMPACT, CREATE, Caller, Candidate, admit
from gateway.body import json_body
from gateway.catalog import RouteFacts
from gateway.dataplane import RelayedAnswer, Request
from gateway.ownership.naming import refuse_stored_objects
from gateway.permission import betas, permit, unstored
from gateway.upstream.exchange import Call, start
from gateway.upstream.outcome import Outcome
from gateway.upstream.relay import Relay
from gateway.upstream.routing import first_usable
from gateway.views.entry import allows
from gateway.views.unbilled import unbilled
from gateway.wire.request import CreateRequest, parse_create, with_fields, with_model


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
    asked, body = await _asked(request, key)
    catalog = await runtime.snapshots.catalog()
    model = catalog.model_for(str(asked.model), endpoint=CREATE, allowed=key.allowed_models)
    route = first_usable(model)
    call = _upstream_call(request, "/responses/input_tokens", asked, body, route)
    return unbilled(runtime.count_rooms, key, partial(start, runtime.transport, route, call))


async def _billed(request: Request, key: KeyFacts, endpoint: str, path: str) -> RelayedAnswer:
    runtime = request.runtime
    asked, body = await _asked(request, key)
    if endpoint == CREATE and (fields := unstored(asked, key)):
        body = with_fields(body, fields)
    catalog = await runtime.snapshots.catalog()
    candidate = Candidate(_caller(request, key, endpoint), asked, len(body), catalog, runtime.allowances)
    call = _upstream_call(request, path, asked, body, candidate.route)
    call = replace(call, is_model_ours=str(asked.model) in catalog.models, beta=betas(call.beta, key))
    count = partial(runtime.counts.count, key.organization_id, candidate.route, call)
    offer = await admit(candidate, bool(key.hard_metrics), runtime.meter.hold, count)
    call = replace(call, body=with_fields(call.body, offer.fields)) if offer.fields else call
    outcome = Outcome(offer.admitted, runtime.meter, request.arrived)
    relay = Relay(outcome, runtime.drains, settings.MAX_EVENT_BYTES, settings.KEEPALIVE_SECONDS)
    return RelayedAnswer(partial(relay.run, partial(start, runtime.transport, candidate.route, call)))


async def _asked(request: Request, key: KeyFacts) -> tuple[CreateRequest, bytes]:
    """What is asked for, with nothing in it that may not be named or asked for, and the body it came in."""
    body = await json_body(request)
    asked = parse_create(body)
    refuse_stored_objects(asked)
    permit(asked, key)
    return asked, body


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
