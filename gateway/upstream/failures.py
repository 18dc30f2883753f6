"""What can go wrong with an upstream before its answer begins, in our words (protocol.md, "Upstream's answer").

`dispatched` tells the meter whether the request may have reached the upstream.
"""

import re
from collections.abc import Callable, Mapping

from gateway.wire.objects import Object, object_in

RELAYED = {400, 404, 409, 413, 422}
OUR_FAULT = {401, 402, 403}
MISSING = re.compile(r"(?i)\b(response|item) with id '([A-Za-z0-9_-]{1,512})' not found")
RETRY = ("retry-after", "retry-after-ms")
QUOTA_CODES = {
    "insufficient_quota", "credit_balance_exhausted", "billing_hard_limit_reached", "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded", "organization_usage_limit_exceeded",
}  # fmt: skip


class UpstreamFailed(Exception):
    """No answer that can be passed on."""

    status = 502  # of our answer to the tenant
    answered = False  # the upstream said so itself: it did no work that it bills
    dispatched = True


class Unreachable(UpstreamFailed):
    """No connection was made."""

    dispatched = False


class Busy(Unreachable):
    """Our own connections are all in use."""

    status = 503


class Unusable(Unreachable):
    """Its key does not open: staff must enter it again."""


class TimedOut(UpstreamFailed):
    """Nothing came in time."""

    status = 504


class Broken(UpstreamFailed):
    """The connection broke, or what came is no answer."""


class TooLarge(Broken):
    """An answer, or one event of a stream, is larger than we keep. What it holds was made, and is paid for upstream.

    `unread_bytes`: how much of a plain answer had come, nothing of which is known.
    """

    def __init__(self, message: str, unread_bytes: int = 0) -> None:
        super().__init__(message)
        self.unread_bytes = unread_bytes


class Withheld(UpstreamFailed):
    """The answer has an id that may not leave. It was made, and is paid for all the same."""


class Repeated(Withheld):
    """It is the id of another project's answer."""


class NotKept(Withheld):
    """Whose it is can be written nowhere, so nobody could ask for it, or be kept from it."""


class Answered(UpstreamFailed):
    """The upstream answered with a failure. `is_not_found`: what was asked for is not there."""

    answered = True
    is_not_found = False


class Failing(Answered):
    """5xx, or another status that means nothing to us."""


class NotFound(Answered):
    """404, and not for the model: a path or a stored object that the upstream does not know. `missing` is its id."""

    is_not_found = True

    def __init__(self, missing: str = "", *, is_item: bool = False) -> None:
        super().__init__("status 404")
        self.missing = missing
        self.is_item = is_item


class Gone(NotFound):
    """What the request names is the tenant's, and not there any more upstream."""

    status = 400


class Unreadable(UpstreamFailed):
    """A 2xx in a form that we cannot read: nobody knows what the upstream did for it."""


class GatewayTimeout(Answered):
    """The upstream says that something timed out."""

    status = 504


class Overloaded(Answered):
    """The upstream limits our account."""

    status = 503

    def __init__(self, retry_headers: Mapping[str, str]) -> None:
        """`retry_headers`: when to come again, in whole seconds and milliseconds, as far as it says so."""
        super().__init__("overloaded")
        self.retry_headers = retry_headers


class Misconfigured(Answered):
    """The upstream refuses our account: its key, its organization or its credit. Staff must act."""


class Rejected(Answered):
    """The upstream refuses the request itself, in words that the tenant may read."""

    def __init__(self, status: int, message: str, param: str | None, code: str | None) -> None:
        super().__init__(message)
        self.status = status
        self.is_not_found = status == 404
        self.message = message
        self.param = param
        self.code = code


def failure_of(status: int, headers: Mapping[str, str], body: bytes, cleaned: Callable[[str], str]) -> UpstreamFailed:
    """What an answer that is no 200 means. `cleaned` takes out of a text what the tenant must not read."""
    took_it_on = 200 <= status < 300
    error = {} if took_it_on else _error_of(body)
    code = _text(error.get("code"))
    if status in OUR_FAULT or code in QUOTA_CODES or _text(error.get("type")) in QUOTA_CODES:
        return Misconfigured(f"status {status}, code {code}")
    if status == 429:
        return Overloaded({name: value for name in RETRY if (value := headers.get(name, "")).isdecimal()})
    if status in {408, 504}:
        return GatewayTimeout(f"status {status}")
    if status == 404 and code != "model_not_found":
        return _not_found(_text(error.get("message")) or "")
    message = _text(error.get("message"))
    if status in RELAYED and message:
        param = _text(error.get("param"))
        return Rejected(status, cleaned(message), param and cleaned(param), code and cleaned(code))
    return Unreadable(f"status {status}") if took_it_on else Failing(f"status {status}")


def _not_found(message: str) -> NotFound:
    found = MISSING.search(message)
    return NotFound(found[2], is_item=found[1].lower() == "item") if found else NotFound()


def _error_of(body: bytes) -> Object:
    error = (object_in(body) or {}).get("error")
    return error if isinstance(error, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
