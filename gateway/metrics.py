"""What a process counts, for Prometheus at /metrics."""

import os

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from billing.metering.alarms import ALARMS

__all__ = ["ALARMS", "ANSWERS", "CONTENT_TYPE", "REFUSED", "exposition"]

REFUSED = Counter("tollgate_refused_requests", "Requests refused before they were admitted, by reason.", ["reason"])
ANSWERS = Counter("tollgate_answers", "Answers on /v1, by route, method and status.", ["route", "method", "status"])

CONTENT_TYPE = CONTENT_TYPE_LATEST


def exposition() -> bytes:
    """The metrics of this process, or of all that share PROMETHEUS_MULTIPROC_DIR."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest()
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
