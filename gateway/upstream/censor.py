"""What an upstream says of its failures, before a tenant reads it: without our key, organization, project and host.

Where our account is the cause, staff hear of it.
"""

import logging

from gateway.catalog import UpstreamFacts
from gateway.metrics import ALARMS
from gateway.redaction import redacted
from gateway.sealing import CannotUnseal
from gateway.upstream.credentials import authorization
from gateway.upstream.failures import QUOTA_CODES
from gateway.wire.failure_texts import changed_answer, changed_events, may_tell_of_failure

logger = logging.getLogger(__name__)

SHORTEST_KEY = 8  # a shorter one would cut up ordinary words


class Censor:
    """Stands between one upstream and the tenants."""

    def __init__(self, upstream: UpstreamFacts) -> None:
        self._upstream = upstream

    def events(self, block: bytes) -> bytes:
        """A block of whole events as the tenant may have it: nearly always the very same bytes."""
        if not may_tell_of_failure(block):
            return block
        block, codes = changed_events(block, self.text)
        self._alarm(codes)
        return block

    def answer(self, body: bytes) -> bytes:
        """The same for a plain answer."""
        if not may_tell_of_failure(body):
            return body
        body, codes = changed_answer(body, self.text)
        self._alarm(codes)
        return body

    def text(self, text: str) -> str:
        """`text` without what it says of our account there."""
        key = _key_of(self._upstream)
        if len(key) >= SHORTEST_KEY:
            text = text.replace(key, "[redacted]")
        return redacted(text, self._upstream.origin.host)

    def _alarm(self, codes: set[str]) -> None:
        found = codes & QUOTA_CODES
        if found:
            alarm_staff(self._upstream, f"{min(found)}, inside an answer")


def alarm_staff(upstream: UpstreamFacts, reason: str) -> None:
    """The upstream will not serve our account: nobody but staff can help."""
    ALARMS.labels(reason="upstream_account").inc()
    logger.error("upstream %s refuses our account (%s): check its key and credit", upstream.name, reason)


def _key_of(upstream: UpstreamFacts) -> str:
    try:
        opening = authorization(upstream.id, upstream.sealed_key)
    except CannotUnseal:
        return ""
    return (opening or b"").partition(b" ")[2].decode("latin-1")
