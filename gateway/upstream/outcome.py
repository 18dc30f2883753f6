"""How one relayed request ended: what was read becomes a settlement, handed to the meter exactly once.

Every row of the table of endings (docs/endings.md) is decided here.
"""

import logging
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any, Protocol
from uuid import UUID

import msgspec

from billing.metering.meter import Meter
from billing.metering.refusals import BillingUnavailable
from billing.prices.pricing import PriceSheet, cost
from billing.prices.tokens import MOST_TOKENS, TokenUsage
from billing.record import Admitted, Opened, Seen, Settlement, kept_lines
from gateway.upstream.failures import Broken, UpstreamFailed
from gateway.wire.tap import Reading

logger = logging.getLogger(__name__)

MOST_USAGE_BYTES = 16 * 1024
MOST_WINDOWS = 10  # that usage may fill before nobody believes it
MOST_RESPONSE_IDS = 16  # of one answer, whose rule is one
MOST_USAGE_BRACKETS = 100  # what is nested as deeply as we can read could not be written elsewhere
NOTHING_READ = Reading()


class Write(Protocol):
    """What was handed in to be kept, whoever waits for it."""

    async def durable(self) -> None: ...


class Claim(Protocol):
    """What an answer makes its project's (gateway/ownership/claim.py). None: there is nothing to keep."""

    def opened(self, response_ids: Collection[str]) -> Sequence[Write]: ...
    def ended(self, response_id: str, issued: Iterable[int]) -> Write | None: ...


class Outcome:
    """The end of one admitted request. The first ending counts; later ones change nothing."""

    def __init__(self, admitted: Admitted, meter: Meter, arrived: float, claim: Claim | None = None) -> None:
        """`arrived`: time.monotonic() when the request came."""
        self._admitted = admitted
        self._meter = meter
        self._arrived = arrived
        self._claim = claim
        self._is_sent = False
        self._is_opened = False  # the meter knows the answer's id
        self.is_known = False
        self.status: int | None = None  # of our answer; None as long as the client got none
        self.first_byte_ms: int | None = None
        self.upstream_request_id = ""

    async def dispatch(self) -> None:
        """It goes upstream now. BillingUnavailable where that cannot be kept: it must not, and its hold is released."""
        try:
            self._meter.dispatched(self._admitted.hold.id)
        except BillingUnavailable:
            await self._settle(self._void(NOTHING_READ))
            raise

    def sent(self) -> None:
        """There is a connection: from here on the upstream may know of it."""
        self._is_sent = True

    async def opens(self, reading: Reading) -> None:
        """More of the answer is about to leave: not before its id, once that is known, has its owner. Withheld, and
        Broken where it has ids without end.
        """
        if self._claim is None:
            return
        if len(reading.response_ids) > MOST_RESPONSE_IDS:
            raise Broken(f"one answer with more than {MOST_RESPONSE_IDS} ids")
        for write in self._claim.opened(reading.response_ids):
            await write.durable()

    def watched(self, reading: Reading) -> None:
        """What is known of the answer so far, kept in case that this process does not see its end."""
        hold = self._admitted.hold
        if reading.response_id and not self._is_opened:
            self._is_opened = True
            self._meter.opened(hold.id, Opened(_kept(reading.response_id, 512), hold.upstream_id))
        if self._meter.is_progress_due(hold.id):
            tier, model = _kept(reading.service_tier, 32), _kept(reading.model, 200)
            self._meter.seen(hold.id, Seen(reading.delta_events, tier, model))

    def answer_begins(self, status: int) -> None:
        """The client is about to get the first byte of its answer."""
        self.status = status
        self.first_byte_ms = self._elapsed_ms()

    async def ended(self, reading: Reading, *, drained: bool, without_usage: str = "usage_absent") -> None:
        """The answer ended, well or not, as `reading` says. `without_usage`: the flag where it reported none.

        Withheld where its id may not leave; it is settled all the same.
        """
        write = self._issued(reading)
        await self._settle_ended(self._judged(reading), drained, without_usage)
        if write is not None:
            await write.durable()

    async def _settle_ended(self, reading: Reading, drained: bool, without_usage: str) -> None:
        if reading.usage is not None:
            await self._settle(self._settled(reading, reading.usage, "drained" if drained else "reported"))
        elif reading.deltas or reading.ending in {"completed", "incomplete"}:
            await self.cut(reading, flag=without_usage)
        else:
            await self._settle(self._void(reading))

    async def cut(self, reading: Reading, *, flag: str) -> None:
        """The answer will not be read to its end: estimated, flagged with the reason. Void where nothing was sent."""
        self._issued(reading)
        await self._settle(self._estimated(self._judged(reading), flag) if self._is_sent else self._void(NOTHING_READ))

    async def failed(self, failure: UpstreamFailed) -> None:
        """No answer came. Void where the upstream did no work for sure; else nobody knows, and nothing is charged."""
        if failure.answered or not failure.dispatched:
            await self._settle(self._void(NOTHING_READ))
        else:
            await self._settle(self._unanswered())

    def abandoned(self, reading: Reading, *, is_charged: bool) -> None:
        """The task is being ended and may not wait: an estimate of what had come, unless the ending was read.

        `is_charged`: an answer had begun, or the client had left while its request was under way.
        """
        if self.is_known:
            return
        self.is_known = True
        self._issued(reading)
        reading = self._judged(reading)
        if reading.ending is not None and reading.usage is not None:
            end = self._settled(reading, reading.usage, "reported")
        elif is_charged and self._is_sent:
            end = self._estimated(reading, "cancelled")
        else:
            end = self._unanswered()
        self._meter.settle_soon(end)

    def _issued(self, reading: Reading) -> Write | None:
        """Hands in what was given away, however the answer ends. An answer's own id is one where it came to its end."""
        if self._claim is None:
            return None
        return self._claim.ended(reading.response_id if reading.ending else "", reading.issued)

    async def _settle(self, settlement: Settlement) -> None:
        if not self.is_known:
            self.is_known = True
            await self._meter.settle(settlement)

    def _judged(self, reading: Reading) -> Reading:
        """The same without usage that is beyond all belief."""
        if reading.usage is None or reading.usage.total <= MOST_WINDOWS * self._window_of(reading):
            return reading
        return replace(reading, usage=None, absurd=True)

    def _window_of(self, reading: Reading) -> int:
        """Tokens that an answer may have: its tools' answers are read by the model again."""
        return (self._admitted.context_window or MOST_TOKENS) * (1 + sum(reading.tool_calls.values()))

    def _unanswered(self) -> Settlement:
        if not self._is_sent:
            return self._void(NOTHING_READ)
        return self._settled(NOTHING_READ, TokenUsage(), "estimated", "unanswered")

    def _estimated(self, reading: Reading, flag: str) -> Settlement:
        usage = reading.usage  # chat chunks may report as they go
        if usage is None:
            hold = self._admitted.hold
            usage = self._admitted.ratio.usage(
                request_bytes=hold.request_bytes, delta_events=reading.deltas, most=hold.hold_tokens
            )
        return self._settled(reading, usage, "estimated", flag)

    def _settled(self, reading: Reading, usage: TokenUsage, source: str, *flags: str) -> Settlement:
        known = reading if reading.usage is usage else replace(reading, usage=usage)
        if usage.total > self._window_of(reading):
            flags = (*flags, "above_context_window")
        return self._with_times(settled(self._admitted.hold.id, known, source, self._admitted.price, flags))

    def _void(self, reading: Reading) -> Settlement:
        end = Settlement(
            id=self._admitted.hold.id,
            state="void",
            usage_source="none",
            status=None,
            response_id=_kept(reading.response_id, 512),
            served_model=_kept(reading.model, 200),
            service_tier=_kept(reading.service_tier, 32),
        )
        return self._with_times(end)

    def _with_times(self, end: Settlement) -> Settlement:
        return msgspec.structs.replace(
            end,
            status=self.status,
            upstream_request_id=_kept(self.upstream_request_id, 128),
            first_byte_ms=self.first_byte_ms,
            latency_ms=self._elapsed_ms(),
        )

    def _elapsed_ms(self) -> int:
        return round((time.monotonic() - self._arrived) * 1000)


def settled(
    record_id: UUID, reading: Reading, source: str, sheet: PriceSheet | None, flags: tuple[str, ...] = ()
) -> Settlement:
    """An answer whose usage is known, billed by the tier served. Before its end it names but the tier asked for."""
    usage = reading.usage or TokenUsage()
    served = reading.service_tier if reading.ending else ""
    lines = sheet.lines(usage, service_tier=served, tool_calls=reading.tool_calls) if sheet else ()
    nano = cost(lines)
    if reading.absurd:
        flags += ("absurd_usage",)
    if sheet and usage.total and not nano and sheet.is_any_price_set:
        flags += ("cost_zero",)
    if sheet:
        flags += sheet.flags(service_tier=served, tool_calls=reading.tool_calls)
    return Settlement(
        id=record_id,
        state="settled",
        usage_source=source,
        status=None,
        response_id=_kept(reading.response_id, 512),
        served_model=_kept(reading.model, 200),
        service_tier=_kept(reading.service_tier, 32),
        delta_events=reading.delta_events,
        tool_calls={_kept(kind, 64): count for kind, count in reading.tool_calls.items()},
        reported_usage=_kept_usage(reading.reported_usage),
        cost_nano_usd=nano,
        lines=kept_lines(lines),
        flags=flags,
        input_tokens=usage.input,
        cached_tokens=usage.cached,
        cache_write_tokens=usage.cache_write,
        output_tokens=usage.output,
        reasoning_tokens=usage.reasoning,
    )


def _kept(text: str, most: int) -> str:
    """Text from outside, in a form that PostgreSQL takes."""
    return text.replace("\0", "")[:most]


def _kept_usage(usage: Any) -> Any:
    """The upstream's own words where they are of a reasonable size and can be kept."""
    try:
        encoded = msgspec.json.encode(usage)
    except RecursionError:
        return None
    brackets = encoded.count(b"{") + encoded.count(b"[")
    is_kept = len(encoded) <= MOST_USAGE_BYTES and brackets <= MOST_USAGE_BRACKETS and rb"\u0000" not in encoded
    return usage if is_kept else None
