"""Scenarios that answer with an error instead of a response. Each takes the bearer it received: real ones quote it."""

import msgspec

from gateway.local.simulator.errors import Refusal, envelope, quota_message
from gateway.local.simulator.identity import ORGANIZATION, PROJECT

CLIENT_ERRORS = range(400, 500)


def status(key: str, code: int, retry_after: int | None = None) -> Refusal:
    """Any status in OpenAI's envelope, if asked with Retry-After seconds."""
    kind = "invalid_request_error" if code in CLIENT_ERRORS else "server_error"
    message = f"The server answered {code} for organization {ORGANIZATION}: this is a simulated error."
    headers = () if retry_after is None else (("retry-after", str(retry_after)),)
    return _refusal(code, message, kind, None)._replace(headers=headers)


def html(key: str, code: int = 502) -> Refusal:
    page = f"<html><head><title>{code}</title></head><body><center><h1>{code}</h1></center><hr>cloudflare</body></html>"
    return Refusal(code, page.encode(), "text/html; charset=UTF-8")


def garbage(key: str, code: int = 200) -> Refusal:
    """A body that claims to be JSON and is none."""
    return Refusal(code, b'{"id": "resp_')


def rate_limited(key: str, retry_after: int = 20) -> Refusal:
    message = (
        f"Rate limit reached for gpt-4.1 in organization {ORGANIZATION} on requests per min (RPM): Limit 3, Used 3, "
        f"Requested 1. Please try again in {retry_after}s."
    )
    headers = (("retry-after", str(retry_after)), ("retry-after-ms", str(retry_after * 1000)))
    return _refusal(429, message, "requests", "rate_limit_exceeded")._replace(headers=headers)


def quota(key: str) -> Refusal:
    return _refusal(429, quota_message(key), "insufficient_quota", "insufficient_quota")


def unauthorized(key: str) -> Refusal:
    message = f"Incorrect API key provided: {key}. It does not belong to organization {ORGANIZATION}."
    return _refusal(401, message, "invalid_request_error", "invalid_api_key")


def forbidden(key: str) -> Refusal:
    message = f"Project `{PROJECT}` of organization {ORGANIZATION} does not have access with key {key}."
    return _refusal(403, message, "invalid_request_error", "model_not_found")


def gone(key: str) -> Refusal:
    """As OpenAI answers a request that names a stored item which is no more, or never was kept."""
    message = (
        "Item with id 'rs_0123456789abcdef' not found. Items are not persisted when `store` is set to false. Try again "
        "with `store` set to true, or remove this item from your input."
    )
    body = envelope(message, "invalid_request_error", None, "input")
    return Refusal(404, msgspec.json.encode(body))


def _refusal(code: int, message: str, kind: str, name: str | None) -> Refusal:
    return Refusal(code, msgspec.json.encode(envelope(message, kind, name)))
