"""What an upstream says of its failures, before a tenant reads it: without our key, organization, project and host.

Where our account is the cause, staff hear of it.
"""

import logging
from collections.abc import Callable
from functools import lru_cache
from uuid import UUID

import msgspec

from gateway.catalog import UpstreamFacts
from gateway.metrics import ALARMS
from gateway.redaction import is_secret, redacted
from gateway.sealing import CannotUnseal
from gateway.upstream.credentials import authorization
from gateway.upstream.failures import QUOTA_CODES, Broken
from gateway.wire.failure_texts import Change, TooMuchText, changed_answer, changed_events, may_tell_of_failure

logger = logging.getLogger(__name__)


class Censor:
    """Stands between one upstream and the tenants."""

    def __init__(self, upstream: UpstreamFacts) -> None:
        self._upstream = upstream
        self._key, self._forms = _key_and_forms(upstream.id, upstream.sealed_key)

    def events(self, block: bytes) -> bytes:
        """Whole events as the tenant may have them: nearly always the same bytes. Broken where one says too much."""
        return self._changed(block, changed_events)

    def answer(self, body: bytes) -> bytes:
        """The same for a plain answer."""
        return self._changed(body, changed_answer)

    def text(self, text: str) -> str:
        """`text` without what it says of our account there."""
        if self._key:
            text = text.replace(self._key, "[redacted]")
        return redacted(text, self._upstream.origin.host)

    def _changed(self, text: bytes, change_in: Callable[[bytes, Change], tuple[bytes, set[str]]]) -> bytes:
        for form in self._forms:  # wherever it is: whatever the upstream made of it, it is nothing that a model said
            if form in text:
                text = text.replace(form, b"[redacted]")
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


@lru_cache(maxsize=1024)
def _key_and_forms(upstream_id: UUID, sealed_key: bytes | None) -> tuple[str, tuple[bytes, ...]]:
    key = _key_of(upstream_id, sealed_key)
    return key, _forms_in_json(key)


def _key_of(upstream_id: UUID, sealed_key: bytes | None) -> str:
    """Empty where there is none, or none that can be told from a word."""
    try:
        opening = authorization(upstream_id, sealed_key)
    except CannotUnseal:
        return ""
    key = (opening or b"").partition(b" ")[2].decode("latin-1")
    return key if is_secret(key) else ""


def _forms_in_json(key: str) -> tuple[bytes, ...]:
    """How a key is written inside a JSON string: some writers escape each slash."""
    if not key:
        return ()
    plain = msgspec.json.encode(key)[1:-1]
    return (plain, plain.replace(b"/", rb"\/")) if b"/" in plain else (plain,)
