"""What is held for a request before it goes upstream: its route, its price, and the most that it may cost."""

import re
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from accounts.authentication import KeyFacts
from billing.price_list import ListedPrice
from billing.record import Admitted, Hold
from gateway.catalog import Catalog, ModelFacts, RouteFacts
from gateway.upstream.routing import first_usable
from gateway.wire.request import CreateRequest

ENDPOINT = "responses"
PRINTABLE = re.compile(r"[\x21-\x7e]{1,128}")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, when (by the database's clock), and what of the request's headers is kept on its record."""

    request_id: UUID
    at: datetime
    key: KeyFacts
    process_id: UUID
    client_request_id: str
    retry_count: str


def admission_of(
    caller: Caller, call: CreateRequest, request_bytes: int, catalog: Catalog
) -> tuple[Admitted, RouteFacts]:
    """What to hold and where to go; raises UnknownModel and its kin, or NoRoute."""
    name = str(call.model)
    model = catalog.model_for(name, endpoint=ENDPOINT, allowed=caller.key.allowed_models)
    route = first_usable(model)
    price = catalog.price_of(name, caller.at)
    hold = Hold(
        id=caller.request_id,
        organization_id=caller.key.organization_id,
        project_id=caller.key.project_id,
        api_key_id=caller.key.id,
        process_id=caller.process_id,
        endpoint=ENDPOINT,
        model=name,
        upstream_id=route.upstream.id,
        upstream=route.upstream.name,
        upstream_model=route.upstream_model or name,
        price_id=price.id if price else None,
        stream=bool(call.stream),
        asked_service_tier=(call.service_tier or "")[:32],
        client_request_id=caller.client_request_id if PRINTABLE.fullmatch(caller.client_request_id) else "",
        retry_count=int(caller.retry_count) if caller.retry_count.isdecimal() and len(caller.retry_count) < 4 else 0,
        request_bytes=request_bytes,
        hold_nano_usd=_most_it_may_cost(call, model, request_bytes, price),
        hold_tokens=request_bytes + _most_output(call, model),
        flags=() if price else ("unpriced",),
    )
    return Admitted(hold, price.sheet if price else None), route


def _most_it_may_cost(call: CreateRequest, model: ModelFacts, request_bytes: int, price: ListedPrice | None) -> int:
    """Nano-USD. A token is at least a byte of the body; output is bound by the request or else by the model."""
    if price is None:
        return 0
    return price.sheet.upper_bound(
        input_tokens=request_bytes, output_tokens=_most_output(call, model), service_tier=call.service_tier or ""
    )


def _most_output(call: CreateRequest, model: ModelFacts) -> int:
    stated = call.max_output_tokens
    return stated if stated and stated > 0 else model.max_output_tokens
