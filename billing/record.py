"""How a usage record is opened and ended: what the gateway hands to the meter. Field names are the record's columns.

What has its default is left out where it is encoded: billing/sql/items.sql has the same defaults.
"""

from typing import Any
from uuid import UUID

import msgspec

from billing.prices.estimation import UNKNOWN, Ratio
from billing.prices.pricing import DEFAULT_TIER, PriceLine, PriceSheet
from billing.prices.tokens import TokenUsage

# What a person should look at: usage that nobody reported, costs that were not charged or could not be told, and
# answers that their client paid for and did not get.
REVIEW_FLAGS = frozenset(
    {
        "process_died", "host_lost", "hold_lost", "unanswered", "refused", "absurd_usage", "above_context_window",
        "cost_zero", "usage_absent", "overage", "tokens_over_hold", "unpriced", "tier_unpriced", "tool_unpriced",
        "event_too_large", "withheld",
    }
)  # fmt: skip


class Hold(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request that is about to go upstream, and the most it may cost."""

    id: UUID
    organization_id: UUID
    project_id: UUID
    api_key_id: UUID
    process_id: UUID
    endpoint: str
    model: str
    upstream_id: UUID
    upstream: str
    upstream_model: str
    price_id: UUID | None
    stream: bool
    asked_service_tier: str = ""
    client_request_id: str = ""
    retry_count: int = 0
    request_bytes: int
    hold_nano_usd: int
    hold_tokens: int
    flags: tuple[str, ...] = ()


class Admitted(msgspec.Struct, frozen=True):
    """A request whose hold is durable, and what its end is reckoned by: the price held, for estimates a ratio, and the
    model's context window, beyond which usage is looked at, and far beyond which it cannot be true.
    """

    hold: Hold
    price: PriceSheet | None
    ratio: Ratio = UNKNOWN
    context_window: int = 0  # of the model; 0: nobody said


class Line(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A price line as it is kept: tier and bracket are written where they are not the default ones."""

    kind: str
    quantity: int
    price_pico_usd: int
    amount_pico_usd: int
    tier: str = DEFAULT_TIER
    above_input_tokens: int = 0


class Settlement(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a request ended: `state` settled or void, `usage_source` as in UsageRecord.Source."""

    id: UUID
    state: str
    usage_source: str
    status: int | None
    response_id: str = ""
    served_model: str = ""
    service_tier: str = ""
    upstream_request_id: str = ""
    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    delta_events: int = 0
    tool_calls: dict[str, int] = msgspec.field(default_factory=dict)
    reported_usage: Any = None
    cost_nano_usd: int = 0
    lines: tuple[Line, ...] = ()
    flags: tuple[str, ...] = ()
    first_byte_ms: int | None = None
    latency_ms: int | None = None


class Opened(msgspec.Struct, frozen=True):
    """By what an upstream knows the answer that it has begun."""

    response_id: str
    upstream_id: UUID


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """What is known so far of an open request, for whoever has to end it should this process not live to do so."""

    id: UUID
    response_id: str = ""
    progress: "Seen"


class Seen(msgspec.Struct, frozen=True):
    """How much of an answer has come."""

    delta_events: int = 0
    service_tier: str = ""
    model: str = ""


def void(record_id: UUID, status: int | None, flags: tuple[str, ...] = ()) -> Settlement:
    """The end of a request that cost nothing."""
    return Settlement(id=record_id, state="void", usage_source="none", status=status, flags=flags)


def bare(end: Settlement) -> Settlement:
    """The figures of an end that the database will not take, without the texts that may be to blame."""
    return Settlement(
        id=end.id,
        state=end.state,
        usage_source=end.usage_source,
        status=end.status,
        input_tokens=end.input_tokens,
        cached_tokens=end.cached_tokens,
        cache_write_tokens=end.cache_write_tokens,
        output_tokens=end.output_tokens,
        reasoning_tokens=end.reasoning_tokens,
        cost_nano_usd=end.cost_nano_usd,
        lines=end.lines,
        flags=("refused",),
        first_byte_ms=end.first_byte_ms,
        latency_ms=end.latency_ms,
    )


def refused(record_id: UUID) -> Settlement:
    """All that is kept of an end that the database will not take: that there was one. For staff to look at."""
    return Settlement(id=record_id, state="settled", usage_source="estimated", status=None, flags=("refused",))


def unanswered(record_id: UUID) -> Settlement:
    """The end of a request that went upstream, and nobody knows what became of it."""
    return Settlement(id=record_id, state="settled", usage_source="estimated", status=None, flags=("unanswered",))


def token_columns(usage: TokenUsage) -> dict[str, int]:
    return {
        "input_tokens": usage.input,
        "cached_tokens": usage.cached,
        "cache_write_tokens": usage.cache_write,
        "output_tokens": usage.output,
        "reasoning_tokens": usage.reasoning,
    }


def kept_lines(lines: tuple[PriceLine, ...]) -> tuple[Line, ...]:
    return tuple(
        Line(
            line.kind,
            line.quantity,
            line.price_pico_usd,
            line.amount_pico_usd,
            line.tier,
            line.above_input_tokens,
        )
        for line in lines
    )
