"""Which models a key may use."""

from typing import Any

import msgspec
from django.http import HttpResponse

from accounts.authentication import KeyFacts, Scope
from gateway.catalog import UnknownModel
from gateway.request import Request
from gateway.upstream.models_list import usable_model, usable_models
from gateway.views.entry import allows


@allows(Scope.MODELS)
async def list_models(request: Request, key: KeyFacts) -> HttpResponse:
    """GET /v1/models: what this key may use, patterns resolved by the upstreams' own lists."""
    catalog = await request.runtime.snapshots.catalog_for(key.organization_id)
    models = await usable_models(catalog, request.runtime.model_lists, key.allowed_models)
    return _json({"object": "list", "data": [_described(name, endpoints) for name, endpoints in models]})


@allows(Scope.MODELS)
async def retrieve_model(request: Request, key: KeyFacts, model: str) -> HttpResponse:
    """GET /v1/models/{model}: one of those listed; any other is unknown, whatever the reason."""
    catalog = await request.runtime.snapshots.catalog_for(key.organization_id)
    endpoints = await usable_model(catalog, request.runtime.model_lists, key.allowed_models, model)
    if endpoints is None:
        raise UnknownModel(model)
    return _json(_described(model, endpoints))


def _described(name: str, endpoints: tuple[str, ...]) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "tollgate", "endpoints": endpoints}


def _json(value: object) -> HttpResponse:
    return HttpResponse(msgspec.json.encode(value), "application/json")
