"""One short story per endpoint of /v1."""

from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec
from django.conf import settings
from django.http import HttpResponse, HttpResponseBase

from accounts.authentication import KeyFacts, KeyRefused, Refusal, bearer, check, masked
from accounts.keys import is_wellformed
from gateway.admission import Caller, Candidate, admit
from gateway.body import json_body
from gateway.catalog import RouteFacts
from gateway.dataplane import RelayedAnswer, Request
from gateway.errors import MethodNotAllowed, WebSocketRefused
from gateway.ownership import refuse_stored_objects
from gateway.permission import betas, permit
from gateway.upstream.exchange import Call, start
from gateway.upstream.models_list import usable_models
from gateway.upstream.outcome import Outcome
from gateway.upstream.relay import Relay
from gateway.wire.request import CreateRequest, parse_create, with_fields, with_model

View = Callable[..., Coroutine[Any, Any, HttpResponseBase]]


def by_method(**views: View) -> View:
    """One view by method; others are told what is allowed."""

    async def dispatch(request: Request, **kwargs: str) -> HttpResponseBase:
        view = views.get(request.method or "")
        if view is None:
            raise MethodNotAllowed(request.method or "", request.path_info, ", ".join(views))
        return await view(request, **kwargs)

    return dispatch


async def create_response(request: Request) -> HttpResponseBase:
    """POST /v1/responses, streamed or not."""
    runtime = request.runtime
    key = await _authenticated(request, "responses")
    body = await json_body(request)
    asked = parse_create(body)
    refuse_stored_objects(asked)
    body = with_fields(body, fields) if (fields := permit(asked, key)) else body
    catalog = await runtime.snapshots.catalog()
    candidate = Candidate(_caller(request, key), asked, len(body), catalog, runtime.allowances)
    call = _upstream_call(request, asked, body, candidate.route, betas(request.headers.get("openai-beta", ""), key))
    count = partial(runtime.counts.count, key.organization_id, candidate.route, call)
    offer = await admit(candidate, bool(key.hard_metrics), runtime.meter.hold, count)
    call = replace(call, body=with_fields(call.body, offer.fields)) if offer.fields else call
    relay = Relay(Outcome(offer.admitted, runtime.meter, request.arrived), runtime.drains, settings.MAX_EVENT_BYTES)
    return RelayedAnswer(partial(relay.run, partial(start, runtime.transport, candidate.route, call)))


async def refuse_websocket(request: Request) -> HttpResponseBase:
    """GET /v1/responses: an upgrade is told to fall back to POST."""
    if request.headers.get("upgrade", "").lower() == "websocket":
        raise WebSocketRefused
    raise MethodNotAllowed("GET", request.path_info, "POST")


async def list_models(request: Request) -> HttpResponseBase:
    """GET /v1/models: what this key may use, patterns resolved by the upstreams' own lists."""
    key = await _authenticated(request, "models")
    catalog = await request.runtime.snapshots.catalog()
    names = await usable_models(catalog, request.runtime.model_lists, key.allowed_models)
    entries = [
        {"id": name, "object": "model", "created": 0, "owned_by": "tollgate", "endpoints": list(endpoints)}
        for name, endpoints in names
    ]
    return HttpResponse(msgspec.json.encode({"object": "list", "data": entries}), "application/json")


async def _authenticated(request: Request, endpoint: str) -> KeyFacts:
    secret = bearer(request.headers.get("authorization"))
    facts = await request.runtime.snapshots.key(secret) if is_wellformed(secret) else None
    if facts is None:
        raise KeyRefused(Refusal.UNKNOWN, masked(secret))
    address = request.META.get("REMOTE_ADDR", "")
    refusal = check(facts, address=address, endpoint=endpoint, now=request.runtime.request_ids.now())
    if refusal is not None:
        raise KeyRefused(refusal, facts.hint)
    request.runtime.key_use.used(facts.id, address, request.headers.get("user-agent", ""))
    return facts


def _caller(request: Request, key: KeyFacts) -> Caller:
    return Caller(
        request_id=request.request_id,
        at=request.runtime.request_ids.now(),
        key=key,
        process_id=request.runtime.process_id,
        client_request_id=request.headers.get("x-client-request-id", ""),
        retry_count=request.headers.get("x-stainless-retry-count", ""),
    )


def _upstream_call(request: Request, call: CreateRequest, body: bytes, route: RouteFacts, beta: str) -> Call:
    return Call(
        path="/responses",
        body=with_model(body, route.upstream_model) if route.upstream_model else body,
        request_id=request.request_id,
        stream=bool(call.stream),
        beta=beta.encode(),
        query=request.scope.get("query_string", b""),
    )
