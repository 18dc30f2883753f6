"""An open request whose process is gone, and how it ends: as its spool says, as the upstream says, or by estimate.

Truth that comes after an estimate becomes its adjustment.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import msgspec

from billing.prices.estimation import Ratio
from billing.prices.pricing import PriceSheet, cost
from billing.prices.tokens import MOST_TOKENS, TokenUsage
from billing.record import Hold, Opened, Seen, Settlement, kept_lines, token_columns
from billing.spool.format import Entry, Kind

logger = logging.getLogger(__name__)

T = TypeVar("T")
SOURCES = {"reported": "recovered", "drained": "recovered"}
# As `orphan_of` takes them; whoever asks says which.
ORPHANS = """
SELECT h.id, model, upstream_id, response_id, price_id, request_bytes, hold_tokens, progress::text FROM billing_hold h
"""


@dataclass(frozen=True, slots=True)
class Orphan:
    """An open request without a process. `seen` is None where nothing of an answer is known to have come."""

    id: UUID
    model: str
    upstream_id: UUID
    response_id: str
    price_id: UUID | None
    request_bytes: int
    hold_tokens: int = MOST_TOKENS
    seen: Seen | None = None


# A terminal answer of the upstream as a settlement; None where it has none to give.
Truth = Callable[[Orphan], Awaitable[Settlement | None]]


class Basis(NamedTuple):
    """What an estimate goes by: the price that was held, and the model's ratio."""

    sheet: PriceSheet | None
    ratio: Ratio


BasisOf = Callable[[Orphan], Awaitable[Basis]]


def orphan_of(row: tuple[Any, ...]) -> Orphan:
    """From a row with these columns, in this order. `progress` is JSON text: drivers decode jsonb differently."""
    record_id, model, upstream_id, response_id, price_id, request_bytes, hold_tokens, progress = row
    seen = msgspec.json.decode(progress, type=Seen) if progress is not None else None
    return Orphan(record_id, model, upstream_id, response_id, price_id, request_bytes, hold_tokens, seen)


def orphan_of_hold(hold: Hold) -> Orphan:
    """Of a hold that the database lost."""
    return Orphan(
        hold.id, hold.model, hold.upstream_id, "", hold.price_id, hold.request_bytes, hold.hold_tokens
    )  # fmt: skip


def hold_of(entries: list[Entry]) -> Hold | None:
    """The hold as the process had it when the request went upstream."""
    for entry in entries:
        if entry.kind is Kind.DISPATCHED and entry.payload:
            return _read(entry, Hold)
    return None


def final_of(entries: list[Entry]) -> Settlement | None:
    """The end that the process had read itself, exact; None where it had not come so far."""
    for entry in entries:
        if entry.kind is Kind.FINAL and (end := _read(entry, Settlement)) is not None:
            return msgspec.structs.replace(end, usage_source=SOURCES.get(end.usage_source, end.usage_source))
    return None


def with_entries(orphan: Orphan, entries: list[Entry]) -> Orphan:
    """What the spool knows beyond the database."""
    for entry in entries:
        if entry.kind is Kind.OPENED and (opened := _read(entry, Opened)) is not None:
            orphan = replace(orphan, response_id=opened.response_id, upstream_id=opened.upstream_id)
        elif entry.kind is Kind.PROGRESS and (seen := _read(entry, Seen)) is not None:
            orphan = replace(orphan, seen=seen)
    return orphan


def _read(entry: Entry, kind: type[T]) -> T | None:
    """What an entry says; None where it cannot be read: one entry must not keep the others."""
    try:
        return msgspec.json.decode(entry.payload, type=kind)
    except ValueError as error:
        logger.error("%s of record %s in the spool cannot be read: %s", entry.kind.name, entry.record_id, error)
        return None


def by_estimate(orphan: Orphan, basis: Basis, flag: str) -> Settlement:
    """The end of a request whose answer nobody can tell. Where none is known to have begun, it costs nothing."""
    has_begun = orphan.seen is not None or bool(orphan.response_id)
    seen = orphan.seen or Seen()
    usage = TokenUsage()
    if has_begun:
        usage = basis.ratio.usage(
            request_bytes=orphan.request_bytes, delta_events=seen.delta_events, most=orphan.hold_tokens
        )
    lines = basis.sheet.lines(usage, service_tier="", tool_calls={}) if basis.sheet else ()
    end = Settlement(
        id=orphan.id,
        state="settled",
        usage_source="estimated",
        status=None,
        response_id=orphan.response_id,
        served_model=seen.model,
        service_tier=seen.service_tier,
        delta_events=seen.delta_events,
        cost_nano_usd=cost(lines),
        lines=kept_lines(lines),
        flags=(flag,) if has_begun else (flag, "unanswered"),
    )
    return msgspec.structs.replace(end, **token_columns(usage))


async def end_of(orphan: Orphan, truth: Truth, basis_of: BasisOf, flag: str) -> Settlement:
    """What the upstream says of an orphan, where it knows it by an id and its answer is complete; else an estimate."""
    if orphan.response_id and (found := await truth(orphan)) is not None:
        return found
    return by_estimate(orphan, await basis_of(orphan), flag)
