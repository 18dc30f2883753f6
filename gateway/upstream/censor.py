"""What an upstream says of its failures, before a tenant reads it: without our key, organization, project and host.

Where our account is the cause, staff hear of it.
"""

import logging
from collections.abc import Callable

from gateway.catalog import UpstreamFacts
from gateway.metrics import ALARMS
from gateway.redaction import redacted
from gateway.sealing import CannotUnseal
from gateway.upstream.credentials import authorization
from gateway.upstream.failures import QUOTA_CODES, Broken
from gateway.wire.failure_texts import Change, TooMuchText, changed_answer, changed_events, may_tell_of_failure

logger = logging.getLogger(__name__)

SHORTEST_KEY = 8  # a shorter one would cut up ordinary words


class Censor:
    """Stands between one upstream and the tenants."""

    def __init__(self, upstream: UpstreamFacts) -> None:
        self._upstream = upstream

    def events(self, block: bytes) -> bytes:
        """Whole events as the tenant may have them: nearly always the same bytes. Broken where one says too much."""
        return self._changed(block, changed_events)

    def answer(self, body: bytes) -> bytes:
        """The same for a plain answer."""
        return self._changed(body, changed_answer)

    def text(self, text: str) -> str:
        """`text` without what it says of our account there."""
        key = _key_of(self._upstream)
        if len(key) >= SHORTEST_KEY:
            text = text.replace(key, "[redacted]")
        return redacted(text, self._upstream.origin.host)

    def _changed(self, text: bytes, change_in: Callable[[bytes, Change], tuple[bytes, set[str]]]) -> bytes:
        if not may_tell_of_failure(text):
            return text
        try:
            text, codes = change_in(text, self.text)
        except TooMuchText as error:
            raise Broken(str(error)) from error
        self._alarm(codes)
        return text

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
