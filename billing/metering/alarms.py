"""Ends that somebody should hear of at once: counted for Prometheus, and logged."""

import logging

from prometheus_client import Counter

from billing.record import REVIEW_FLAGS, Hold, Settlement

logger = logging.getLogger(__name__)

ALARMS = Counter("tollgate_alarms", "Ended requests that somebody should look at, by their flag.", ["reason"])


def raise_alarms(end: Settlement, hold: Hold | None = None) -> None:
    """All for which the end is flagged for review; and, where the hold is known, that it was no bound, which costs the
    house something where a hard quota was held.
    """
    reasons = REVIEW_FLAGS.intersection(end.flags)
    if hold is not None and end.cost_nano_usd > hold.hold_nano_usd:
        reasons |= {"above_hold"}
    if hold is not None and end.input_tokens + end.output_tokens > hold.hold_tokens:
        reasons |= {"tokens_over_hold"}
    for reason in sorted(reasons):
        raise_alarm(reason, end, hold)


def raise_alarm(reason: str, end: Settlement, hold: Hold | None) -> None:
    ALARMS.labels(reason=reason).inc()
    held = f" of {hold.hold_nano_usd} held" if hold is not None else ""
    logger.warning("record %s: %s, cost %d%s", end.id, reason, end.cost_nano_usd, held)
