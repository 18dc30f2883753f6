"""What is held for a request before it goes upstream: its route, its price, and the most that it may cost.

The hold is a true upper bound. Where a hard quota applies and the request states no limit of its own, one is injected;
where it does not fit, what is left decides the limit, then the upstream counts the input exactly; then it is refused.
"""

import re
from collections.abc import Awaitable, Callable
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec

from accounts.authentication import KeyFacts
from billing.metering.refusals import QuotaExceeded
from billing.prices.price_list import ListedPrice
from billing.record import Admitted, Hold
from gateway.catalog import Catalog, RouteFacts
from gateway.upstream.routing import first_usable
from gateway.wire.bound import Bound, Terms, bound_of
from gateway.wire.clamp import TooLittleLeft, affordable_output, clamped
from gateway.wire.request import CreateRequest

CREATE = "responses"
COMPACT = "compact"
PRINTABLE = re.compile(r"[\x21-\x7e]{1,128}")


class Caller(msgspec.Struct, frozen=True):
    """Who asks, when (by the database's clock), for CREATE or COMPACT, and what of its headers the record keeps."""

    request_id: UUID
    at: datetime
    key: KeyFacts
    process_id: UUID
    client_request_id: str
    retry_count: str
    endpoint: str = CREATE


class Wanted(msgspec.Struct, frozen=True):
    """A request as it came, and what is known of what it names: the upstream that has that, None where it may be any,
    and the input and output together of the response that it continues.
    """

    call: CreateRequest
    request_bytes: int
    upstream_id: UUID | None = None
    previous_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Allowances:
    """What is assumed of a request that does not say (settings)."""

    output_tokens: int
    tool_calls: int
    tool_input_tokens: int


class Candidate:
    """A request that may be admitted: what it wants, and what holding it takes."""

    def __init__(self, caller: Caller, wanted: Wanted, catalog: Catalog, allowances: Allowances) -> None:
        """Raises UnknownModel and its kin, or NoRoute."""
        call = wanted.call
        name = str(call.model)
        self._takes_limits = caller.endpoint == CREATE
        if not self._takes_limits:
            call = msgspec.structs.replace(call, max_output_tokens=None)  # the endpoint has no such field: none obeys
        model = catalog.model_for(name, endpoint=CREATE, allowed=caller.key.allowed_models)
        self.route: RouteFacts = first_usable(model, wanted.upstream_id)
        self.price: ListedPrice | None = catalog.price_of(name, caller.at)
        self._caller = caller
        self._call = call
        self._request_bytes = wanted.request_bytes
        self._most_output = model.max_output_tokens
        self._allowances = allowances
        self._ratio = catalog.ratio_of(name)
        self._window = model.context_window
        terms = Terms(
            self.route.upstream_model or name, model.context_window, allowances.tool_calls, allowances.tool_input_tokens
        )
        self._whole_window = terms.window
        self._bound: Bound = bound_of(call, wanted.request_bytes, terms, previous_tokens=wanted.previous_tokens)

    def is_worth_counting(self, refusal: QuotaExceeded) -> bool:
        """Whether a count of the input, however small, would make it fit into what is left."""
        if not self._bound.is_worth_counting:
            return False
        least = copy(self)
        least.counted(0)
        try:
            hold = least.limited(refusal).admitted.hold
        except TooLittleLeft:
            return False
        nano, tokens = refusal.left("cost"), refusal.left("tokens")
        return (nano is None or hold.hold_nano_usd <= nano) and (tokens is None or hold.hold_tokens <= tokens)

    @property
    def may_be_limited(self) -> bool:
        """Whether its output may be bounded by us."""
        return self._takes_limits and self._bound.output_tokens is None

    def counted(self, tokens: int) -> None:
        """The upstream has counted the input."""
        self._bound = self._bound.counted(tokens)

    def unlimited(self) -> "Offer":
        """As it came: where nothing is enforced, a request is not touched.

        A quota that is not known of yet may hold it all the same, so the bound is one here too.
        """
        return self._offer(self._bound.output_tokens or self._most_output or self._whole_window, {})

    def limited(self, refusal: QuotaExceeded | None = None) -> "Offer":
        """With limits where it states none; by what is left, once that is known. TooLittleLeft."""
        if not self._takes_limits:
            return self.unlimited()
        fields = {}
        if self._bound.tool_calls and self._call.max_tool_calls is None:
            fields["max_tool_calls"] = self._bound.tool_calls
        output = clamped(
            self._bound,
            model_cap=self._most_output,
            left_tokens=self._left(refusal) if refusal else None,
            project_default=self._allowances.output_tokens,
        )
        if output is not None:
            fields["max_output_tokens"] = output
        return self._offer(output or self._bound.output_tokens or 0, fields)

    def _left(self, refusal: QuotaExceeded) -> int | None:
        """Output tokens that would fit beside the input into every quota that had too little room."""
        left = []
        nano, tokens = refusal.left("cost"), refusal.left("tokens")
        if nano is not None and self.price is not None:
            left.append(affordable_output(nano, self._cost(0), self.price.sheet.dearest_output(self._tier)))
        if tokens is not None:
            left.append(max(0, tokens - self._bound.all_input_tokens))
        return min(left, default=None)

    @property
    def _tier(self) -> str:
        return self._call.service_tier or ""

    def _cost(self, output_tokens: int) -> int:
        """Nano-USD at the most, with so much output."""
        if self.price is None:
            return 0
        return self.price.sheet.upper_bound(
            input_tokens=self._bound.all_input_tokens,
            output_tokens=output_tokens,
            tool_calls=self._bound.tool_calls,
            tool_kinds=self._bound.tool_kinds,
            service_tier=self._tier,
        )

    def _offer(self, output_tokens: int, fields: dict[str, int]) -> "Offer":
        caller, call, route = self._caller, self._call, self.route
        hold = Hold(
            id=caller.request_id,
            organization_id=caller.key.organization_id,
            project_id=caller.key.project_id,
            api_key_id=caller.key.id,
            process_id=caller.process_id,
            endpoint=caller.endpoint,
            model=str(call.model),
            upstream_id=route.upstream.id,
            upstream=route.upstream.name,
            upstream_model=route.upstream_model or str(call.model),
            price_id=self.price.id if self.price else None,
            stream=bool(call.stream),
            asked_service_tier=self._tier[:32],
            client_request_id=caller.client_request_id if PRINTABLE.fullmatch(caller.client_request_id) else "",
            retry_count=_number(caller.retry_count),
            request_bytes=self._request_bytes,
            hold_nano_usd=self._cost(output_tokens),
            hold_tokens=self._bound.all_input_tokens + output_tokens,
            flags=() if self.price else ("unpriced",),
        )
        return Offer(Admitted(hold, self.price.sheet if self.price else None, self._ratio, self._window), fields)


class Offer(msgspec.Struct, frozen=True):
    """A request as it may go upstream: what is held for it, and the fields that are set in its body for that."""

    admitted: Admitted
    fields: dict[str, int]


async def admit(
    candidate: Candidate,
    is_limited: bool,
    hold: Callable[[Hold], Awaitable[None]],
    count: Callable[[], Awaitable[int | None]],
) -> Offer:
    """Holds the request; raises what `hold` raises. `is_limited`: a hard quota in cost or tokens applies, as far as
    is known here. `count` asks the upstream how many tokens the input has.
    """
    offer = candidate.limited() if is_limited else candidate.unlimited()
    try:
        await hold(offer.admitted.hold)
        return offer
    except QuotaExceeded as refusal:
        return await _admit_less(candidate, refusal, hold, count)


async def _admit_less(
    candidate: Candidate,
    refusal: QuotaExceeded,
    hold: Callable[[Hold], Awaitable[None]],
    count: Callable[[], Awaitable[int | None]],
) -> Offer:
    """The same request with less output where that is ours to choose, then with its input counted exactly."""
    if refusal.left("requests") is not None:
        raise refusal
    if candidate.may_be_limited and (offer := _by_what_is_left(candidate, refusal)) is not None:
        try:
            await hold(offer.admitted.hold)
            return offer
        except QuotaExceeded as again:
            refusal = again
    tokens = await count() if candidate.is_worth_counting(refusal) else None
    if tokens is None:
        raise refusal
    candidate.counted(tokens)
    if (offer := _by_what_is_left(candidate, refusal)) is None:
        raise refusal
    await hold(offer.admitted.hold)
    return offer


def _by_what_is_left(candidate: Candidate, refusal: QuotaExceeded) -> Offer | None:
    try:
        return candidate.limited(refusal)
    except TooLittleLeft:
        return None


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 4 else 0
