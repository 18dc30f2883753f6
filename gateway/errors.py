"""Every refusal and failure as OpenAI's envelope: the only file that knows both (protocol.md 4)."""

import logging
from dataclasses import dataclass, field
from datetime import UTC
from functools import singledispatch
from uuid import UUID

import msgspec
from django.http import HttpResponse

from accounts.authentication import KeyRefused, Refusal, Scope
from billing.metering.refusals import BillingUnavailable, Lacking, QuotaExceeded, Unpriced
from billing.prices.pricing import figure
from gateway.catalog import ModelNotAllowed, NotServedOnEndpoint, UnknownModel
from gateway.metrics import REFUSED
from gateway.ownership.owners import Unavailable
from gateway.refusals import (
    BodyTooLarge,
    MethodNotAllowed,
    ResponseNotFound,
    Stopping,
    UnknownPath,
    UnsupportedMediaType,
    WebSocketRefused,
)
from gateway.snapshot import SnapshotUnavailable
from gateway.upstream.failures import Busy, GatewayTimeout, Gone, Overloaded, Rejected, TimedOut, UpstreamFailed
from gateway.upstream.routing import NoRoute
from gateway.upstream.unbilled import TooManyAtOnce
from gateway.wire.encoding import Damaged, Inflated, UnknownEncoding
from gateway.wire.request import InvalidRequest

logger = logging.getLogger(__name__)

INVALID = "invalid_request_error"
SERVER = "server_error"
SCOPES = {  # by the names that OpenAI's clients know
    Scope.RESPONSES: "api.responses.write",
    Scope.READ: "api.responses.read",
    Scope.MODELS: "api.model.read",
}
DO_RETRY = {"x-should-retry": "true"}
DO_NOT_RETRY = {"x-should-retry": "false"}


@dataclass(frozen=True, slots=True)
class Envelope:
    """An error as the client gets it. `reason` is what it is counted by; empty where it is no refusal of ours."""

    status: int
    type: str
    message: str
    param: str | None = None
    code: str | None = None
    reason: str = ""
    headers: dict[str, str] = field(default_factory=dict)


def error_response(error: Exception, request_id: UUID) -> HttpResponse:
    """The answer to a request that ends with `error`; refusals are counted, unknown errors logged with their id."""
    envelope = envelope_of(error)
    if envelope.reason:
        REFUSED.labels(reason=envelope.reason).inc()
    if envelope.status == 500:
        logger.error("request %s failed", request_id, exc_info=error)
    fields = {
        "message": envelope.message,
        "type": envelope.type,
        "param": envelope.param,
        "code": envelope.code,
    }
    body = msgspec.json.encode({"error": fields})
    return HttpResponse(body, "application/json", envelope.status, headers=envelope.headers)


@singledispatch
def envelope_of(error: Exception) -> Envelope:
    message = "The server had an error while processing your request. Please retry; x-request-id names the request."
    return Envelope(500, SERVER, message)


@envelope_of.register
def _(error: KeyRefused) -> Envelope:
    reason = error.refusal.value
    if error.refusal is Refusal.MISSING:
        message = "Missing bearer or basic authentication in header"
        return Envelope(401, INVALID, message, reason=reason, headers={"www-authenticate": "Bearer"})
    if error.refusal is Refusal.SUSPENDED:
        message = "The account associated with this API key has been deactivated. Ask the gateway's administrators."
        return Envelope(401, INVALID, message, code="account_deactivated", reason=reason)
    if error.refusal is Refusal.ADDRESS:
        return Envelope(401, INVALID, "Your IP is not authorized for this API key.", reason=reason)
    if error.refusal is Refusal.SCOPE:
        message = f"You have insufficient permissions for this operation. Missing scopes: {SCOPES[Scope(error.shown)]}."
        return Envelope(401, INVALID, message, reason=reason)
    message = f"Incorrect API key provided: {error.shown}. Ask the gateway's administrators for a valid one."
    return Envelope(401, INVALID, message, code="invalid_api_key", reason=reason)


@envelope_of.register
def _(error: InvalidRequest) -> Envelope:
    return Envelope(400, INVALID, error.message, error.param, error.code, "invalid_request")


@envelope_of.register
def _(error: UnknownModel) -> Envelope:
    message = f"The model `{error.model}` does not exist or you do not have access to it."
    return Envelope(404, INVALID, message, "model", "model_not_found", "unknown_model")


@envelope_of.register
def _(error: ModelNotAllowed) -> Envelope:
    message = f"This API key does not have access to model `{error.model}`."
    return Envelope(403, INVALID, message, "model", "model_not_found", "model_not_allowed")


@envelope_of.register
def _(error: NotServedOnEndpoint) -> Envelope:
    served = ", ".join(f"/v1/{endpoint}" for endpoint in error.endpoints) or "no endpoint"
    message = f"The model `{error.model}` is not served on this endpoint. It is served on {served}."
    return Envelope(400, INVALID, message, "model", "unsupported_endpoint", "unsupported_endpoint")


@envelope_of.register
def _(error: UnknownPath) -> Envelope:
    return Envelope(404, INVALID, f"Invalid URL ({error.method} {error.path})", reason="unknown_path")


@envelope_of.register
def _(error: MethodNotAllowed) -> Envelope:
    message = f"Not allowed to {error.method} on {error.path} (HINT: perhaps you meant to use {error.allowed})"
    headers = {"allow": error.allowed}
    return Envelope(405, INVALID, message, None, "method_not_supported", "method_not_allowed", headers)


@envelope_of.register
def _(error: ResponseNotFound) -> Envelope:
    message = f"Response with id '{error.response_id}' not found."
    return Envelope(404, INVALID, message, reason="response_not_found")


@envelope_of.register
def _(error: WebSocketRefused) -> Envelope:
    message = "WebSocket mode is not served here. Use POST /v1/responses, streamed or not."
    return Envelope(426, INVALID, message, code="websocket_not_supported", reason="websocket")


@envelope_of.register
def _(error: BodyTooLarge) -> Envelope:
    message = f"The body of your request is larger than {error.most} bytes."
    headers = {"connection": "close"}  # more of the body may follow
    return Envelope(413, INVALID, message, code="request_too_large", reason="request_too_large", headers=headers)


@envelope_of.register
def _(error: UnsupportedMediaType) -> Envelope:
    return Envelope(415, INVALID, str(error), code="unsupported_media_type", reason="unsupported_media_type")


@envelope_of.register
def _(error: UnknownEncoding) -> Envelope:
    message = (
        f"Content-Encoding {str(error)[:100]!r} is not supported: compress with gzip or zstd, once, or not at all."
    )
    return Envelope(415, INVALID, message, code="unsupported_media_type", reason="unsupported_media_type")


@envelope_of.register
def _(error: Inflated) -> Envelope:
    message = f"The body of your request inflates to more than {error.most} bytes, the most for its size."
    return Envelope(413, INVALID, message, code="request_too_large", reason="request_too_large")


@envelope_of.register
def _(error: Damaged) -> Envelope:
    message = (
        "The body of your request is not what its Content-Encoding says. (HINT: one complete gzip or zstd stream.)"
    )
    return Envelope(400, INVALID, message, code="invalid_encoding", reason="invalid_request")


@envelope_of.register(SnapshotUnavailable)
@envelope_of.register(Unavailable)
@envelope_of.register(BillingUnavailable)
def _(error: Exception) -> Envelope:
    message = "The gateway cannot account for your request at the moment. Please retry."
    return Envelope(503, SERVER, message, None, "billing_unavailable", "unavailable", {**DO_RETRY, "retry-after": "5"})


@envelope_of.register
def _(error: QuotaExceeded) -> Envelope:
    quota = error.lacking[0]
    needed, left = figure(quota.metric, quota.needed), figure(quota.metric, quota.left)
    message = (
        f"You exceeded your current quota: {_described(quota)} has {left} left, and this request may need up to "
        f"{needed}. {_way_out(quota)}"
    )
    return Envelope(429, "insufficient_quota", message, None, "insufficient_quota", "insufficient_quota", DO_NOT_RETRY)


@envelope_of.register
def _(error: TooManyAtOnce) -> Envelope:
    message = f"Rate limit reached: at most {error.most} of these at once for an organization. Please retry in 1s."
    headers = {**DO_RETRY, "retry-after": "1"}
    return Envelope(429, "requests", message, None, "rate_limit_exceeded", "too_many_at_once", headers)


@envelope_of.register
def _(error: Unpriced) -> Envelope:
    message = "The model has no price here, so its cost cannot be kept within your quota. Ask the gateway's admins."
    return Envelope(503, SERVER, message, "model", "model_not_priced", "unpriced", DO_NOT_RETRY)


def _described(quota: Lacking) -> str:
    """Which quota, as people call it."""
    if quota.is_credit:
        return f"the prepaid credit of {quota.level} {quota.name!r}"
    period = {"day": "daily ", "month": "monthly "}.get(quota.period, "")
    return f"the {period}{quota.metric} quota of {quota.level} {quota.name!r} ({figure(quota.metric, quota.limit)})"


def _way_out(quota: Lacking) -> str:
    if quota.renews_at is not None:
        return f"It renews at {quota.renews_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC."
    return "It does not renew by itself: ask the gateway's administrators for more."


@envelope_of.register
def _(error: Stopping) -> Envelope:
    message = "The gateway is being restarted. Please retry."
    return Envelope(503, SERVER, message, None, "server_shutdown", "unavailable", {**DO_RETRY, "retry-after": "1"})


@envelope_of.register
def _(error: NoRoute) -> Envelope:
    message = f"No upstream serves the model `{error}` at the moment."
    return Envelope(503, SERVER, message, "model", "no_route", "no_route", {**DO_RETRY, "retry-after": "5"})


@envelope_of.register
def _(error: Busy) -> Envelope:
    message = "All connections to the upstream are in use. Please retry."
    return Envelope(error.status, SERVER, message, code="upstream_error", headers={**DO_RETRY, "retry-after": "1"})


@envelope_of.register
def _(error: UpstreamFailed) -> Envelope:
    return Envelope(error.status, SERVER, "The upstream could not answer your request.", code="upstream_error")


@envelope_of.register(TimedOut)
@envelope_of.register(GatewayTimeout)
def _(error: UpstreamFailed) -> Envelope:
    return Envelope(error.status, SERVER, "The upstream did not answer in time.", code="timeout")


@envelope_of.register
def _(error: Overloaded) -> Envelope:
    message = "The upstream is overloaded. Please slow down and retry."
    headers = dict(error.retry_headers)
    return Envelope(error.status, "service_unavailable_error", message, code="slow_down", headers=headers)


@envelope_of.register
def _(error: Gone) -> Envelope:
    if error.is_item:
        return Envelope(error.status, INVALID, f"Item with id '{error.missing}' not found.", "input")
    message = f"Previous response with id '{error.missing}' not found."
    return Envelope(error.status, INVALID, message, "previous_response_id", "previous_response_not_found")


@envelope_of.register
def _(error: Rejected) -> Envelope:
    return Envelope(error.status, INVALID, error.message, error.param, error.code)
