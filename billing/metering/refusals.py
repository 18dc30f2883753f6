"""Why a request is not admitted for money's sake. Pure."""

from datetime import datetime
from uuid import UUID

import msgspec


class BillingUnavailable(Exception):
    """The hold was not durable in time: the request may not be admitted. Nothing is held for it."""


class Unpriced(Exception):
    """The model has no price, and a hard cost quota applies: what it may cost cannot be held."""


class Lacking(msgspec.Struct, frozen=True):
    """A quota without room. Amounts are nano-USD, tokens or requests, as `metric` says; `renews_at` None: never."""

    level: str  # organization, project or key
    name: str
    metric: str
    period: str
    is_credit: bool
    limit: int
    needed: int
    left: int
    renews_at: datetime | None


class QuotaExceeded(Exception):
    """Some hard quotas have too little left for the hold; the one with the least is first. Nothing is held for it."""

    def __init__(self, lacking: tuple[Lacking, ...]) -> None:
        super().__init__(lacking)
        self.lacking = lacking

    def left(self, metric: str) -> int | None:
        """The least that is left of the quotas of that metric; None where none of them lacks."""
        return min((quota.left for quota in self.lacking if quota.metric == metric), default=None)


class HoldOutcome(msgspec.Struct, frozen=True):
    """What the database decided on one hold (billing_hold_exactly)."""

    outcome: str  # held, exists (it was held before), ended (so was its request), refused or unpriced
    lacking: tuple[Lacking, ...] = ()

    @property
    def refusal(self) -> Exception | None:
        if self.outcome == "refused":
            return QuotaExceeded(self.lacking)
        if self.outcome == "ended":
            return BillingUnavailable("The request of this id has ended.")
        return Unpriced() if self.outcome == "unpriced" else None


def outcomes_of(answer: str) -> dict[UUID, HoldOutcome]:
    """The decisions by request id, as billing_hold_exactly returns them."""
    return _outcomes.decode(answer)


_outcomes = msgspec.json.Decoder(dict[UUID, HoldOutcome])
