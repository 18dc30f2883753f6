"""What becomes of open requests whose process is gone: decided from its spool, from the upstream, or by estimate.

On their own host the spool says how far each had come, and a process of that host replays it (`Replay`). Where the
whole host is lost, reaping.py has what the database knows. Truth that comes after an estimate becomes its adjustment.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar
from uuid import UUID

import msgspec
from psycopg_pool import AsyncConnectionPool

from billing import faults
from billing.prices.estimation import Ratio
from billing.prices.pricing import PriceSheet, cost
from billing.prices.tokens import MOST_TOKENS, TokenUsage
from billing.record import Hold, Opened, Seen, Settlement, kept_lines, token_columns, void
from billing.spool.abandoned import Abandoned, abandoned, take
from billing.spool.format import Entry, Kind

logger = logging.getLogger(__name__)

T = TypeVar("T")
AT_ONCE = 64
SOURCES = {"reported": "recovered", "drained": "recovered"}
# As `orphan_of` takes them; whoever asks says which.
ORPHANS = """
SELECT h.id, model, upstream_id, response_id, price_id, request_bytes, hold_tokens, progress::text FROM billing_hold h
"""
ORPHANS_OF = ORPHANS + "WHERE process_id = %s"
STOPPED = "UPDATE billing_process SET stopped_at = coalesce(stopped_at, now()) WHERE id = %s"


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
# Takes the payload of an owner's entry; what it says only the gateway knows.
Own = Callable[[bytes], Awaitable[None]]


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


class Replay:
    """Ends what dead processes of this host left open, by their spools."""

    def __init__(
        self,
        spool_dir: Path,
        pool: AsyncConnectionPool,
        end: Callable[[Settlement, Hold | None], Awaitable[None]],
        truth: Truth,
        basis_of: BasisOf,
    ) -> None:
        """`end` hands a settlement in, with its hold where that is known, and returns once it is durable."""
        self._spool_dir = spool_dir
        self._pool = pool
        self._end = end
        self._truth = truth
        self._basis_of = basis_of
        self._own: Own | None = None

    def with_owners(self, own: Own) -> Self:
        """The same, which hands entries of owners to `own`; it returns once they are durable."""
        self._own = own
        return self

    async def run(self) -> int:
        """Replays every spool that nobody holds; returns how many. One that cannot be keeps no other."""
        replayed = 0
        for folder in await asyncio.to_thread(abandoned, self._spool_dir):
            try:
                spool = await asyncio.to_thread(take, folder)
                if spool is not None:
                    with spool:
                        await self._replay(spool)
                    replayed += 1
            except Exception as error:
                logger.error("the spool %s is not replayed yet (%s: %s)", folder, type(error).__name__, error)
        return replayed

    async def _replay(self, spool: Abandoned) -> None:
        requests = await asyncio.to_thread(spool.entries)
        orphans = await self._orphans(spool.process_id)
        logger.warning(
            "process %s is gone: %d requests in its spool, %d open", spool.process_id, len(requests), len(orphans)
        )
        pending = list(requests.items())
        for start in range(0, len(pending), AT_ONCE):
            await _all(self._replay_request(spool, *item, orphans) for item in pending[start : start + AT_ONCE])
        unknown = [orphan for record_id, orphan in orphans.items() if record_id not in requests]
        await _all(self._end_unknown(orphan, is_whole=requests.is_whole) for orphan in unknown)
        async with self._pool.connection() as connection:
            await connection.execute(STOPPED, [spool.process_id])
        await asyncio.to_thread(spool.remove)

    async def _replay_request(
        self, spool: Abandoned, record_id: UUID, entries: list[Entry], orphans: dict[UUID, Orphan]
    ) -> None:
        hold, end = hold_of(entries), final_of(entries)
        orphan = orphans.get(record_id) or (orphan_of_hold(hold) if hold else None)
        if end is None and orphan is not None:
            end = await self.end_of(with_entries(orphan, entries), "process_died")
        faults.reach("replay.entry")
        if end is not None:
            await self._end(end, hold)
        if self._own is not None:
            await _all(self._own(entry.payload) for entry in entries if entry.kind is Kind.OWNER)
        faults.reach("replay.settled")
        await asyncio.to_thread(spool.acknowledge, record_id)

    async def _end_unknown(self, orphan: Orphan, *, is_whole: bool) -> None:
        """Of this one the spool knows nothing: the process did not come to send it. Where the database knows better,
        or the spool is not whole, nobody can say so.
        """
        may_be_sent = orphan.seen is not None or bool(orphan.response_id) or not is_whole
        end = await self.end_of(orphan, "process_died") if may_be_sent else void(orphan.id, None, ("undispatched",))
        await self._end(end, None)

    async def end_of(self, orphan: Orphan, flag: str) -> Settlement:
        """What the upstream says of it, else an estimate."""
        return await end_of(orphan, self._truth, self._basis_of, flag)

    async def _orphans(self, process_id: UUID) -> dict[UUID, Orphan]:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(ORPHANS_OF, [process_id])
            return {row[0]: orphan_of(row) for row in await cursor.fetchall()}


async def _all(steps: Iterable[Awaitable[None]]) -> None:
    """Returns when all have ended, also those beside one that failed; raises what the first of these did."""
    for failure in await asyncio.gather(*steps, return_exceptions=True):
        if failure is not None:
            raise failure


async def end_of(orphan: Orphan, truth: Truth, basis_of: BasisOf, flag: str) -> Settlement:
    """What the upstream says of an orphan, where it knows it by an id and its answer is complete; else an estimate."""
    if orphan.response_id and (found := await truth(orphan)) is not None:
        return found
    return by_estimate(orphan, await basis_of(orphan), flag)
