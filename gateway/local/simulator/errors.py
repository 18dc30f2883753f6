"""OpenAI's error envelope, and the refusals the real API answers with."""

from typing import Any, NamedTuple

import msgspec

from gateway.local.simulator.identity import ORGANIZATION, PROJECT

SHORTEST_SHOWN = 12


class Refusal(NamedTuple):
    """An answer instead of a response: status, body, content type, more headers."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


class Refused(Exception):
    """Ends the handling of a request with this answer."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal)
        self.refusal = refusal


def envelope(message: str, kind: str, code: str | None, param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def refusal(status: int, message: str, code: str | None = None, param: str | None = None) -> Refusal:
    return Refusal(status, msgspec.json.encode(envelope(message, "invalid_request_error", code, param)))


def invalid_url(method: str, path: str) -> Refusal:
    return refusal(404, f"Invalid URL ({method} {path})")


def wrong_method(method: str, path: str, allowed: list[str]) -> Refusal:
    message = f"Not allowed to {method} on {path}. (HINT: Perhaps you meant to use {' or '.join(allowed)}?)"
    refused = refusal(405, message, "method_not_supported")
    return refused._replace(headers=(("allow", ", ".join(allowed)),))


def missing_key() -> Refusal:
    refused = refusal(401, "Missing bearer or basic authentication in header")
    return refused._replace(headers=(("www-authenticate", "Bearer"),))


def wrong_key(key: str) -> Refusal:
    shown = f"{key[:5]}{'*' * 8}{key[-4:]}" if len(key) > SHORTEST_SHOWN else "*" * len(key)
    message = (
        f"Incorrect API key provided: {shown}. You can find your API key at "
        "https://platform.openai.com/account/api-keys."
    )
    return refusal(401, message, "invalid_api_key")


def unreadable_body() -> Refusal:
    message = (
        "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library "
        "correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)"
    )
    return refusal(400, message)


def missing_parameter(name: str) -> Refusal:
    return refusal(400, f"Missing required parameter: '{name}'.", "missing_required_parameter", name)


def unknown_parameter(name: str) -> Refusal:
    return refusal(400, f"Unknown parameter: '{name}'.", "unknown_parameter", name)


def below_minimum(name: str, minimum: int, got: float, kind: str = "integer") -> Refusal:
    message = f"Invalid '{name}': {kind} below minimum value. Expected a value >= {minimum}, but got {got} instead."
    return refusal(400, message, f"{kind}_below_min_value", name)


def above_maximum(name: str, maximum: int, got: int) -> Refusal:
    message = f"Invalid '{name}': integer above maximum value. Expected a value <= {maximum}, but got {got} instead."
    return refusal(400, message, "integer_above_max_value", name)


def wrong_type(name: str, expected: str, got: str) -> Refusal:
    return refusal(400, f"Invalid type for '{name}': expected {expected}, but got {got} instead.", "invalid_type", name)


def invalid_function(place: str, name: str) -> Refusal:
    message = f"Invalid schema for function '{name}': it cannot be read."
    return refusal(400, message, "invalid_function_parameters", f"{place}.parameters")


def invalid_value(name: str, got: str, supported: list[str]) -> Refusal:
    known = ", ".join(f"'{value}'" for value in supported[:-1]) + f" and '{supported[-1]}'"
    return refusal(400, f"Invalid value: '{got}'. Supported values are: {known}.", "invalid_value", name)


def unknown_model(model: str, why: str = "") -> Refusal:
    message = f"The model `{model}` does not exist or you do not have access to it.{why}"
    return refusal(404, message, "model_not_found")


def unknown_response(response_id: str) -> Refusal:
    return refusal(404, f"Response with id '{response_id}' not found.")


def not_streamable(missing: str) -> Refusal:
    return refusal(404, f"This response cannot be streamed because it was not created with {missing}.", None, "stream")


def no_longer_streamable() -> Refusal:
    return refusal(400, "This response can no longer be streamed because it is more than 5 minutes old.")


def not_cancellable() -> Refusal:
    return refusal(400, "Cannot cancel a synchronous response.")


def unknown_item(item_id: str, *, param: str = "input", is_stored: bool = True) -> Refusal:
    hint = (
        " Items are not persisted when `store` is set to false. Try again with `store` set to true, or remove this "
        "item from your input."
    )
    return refusal(404, f"Item with id '{item_id}' not found.{'' if is_stored else hint}", None, param)


def unverified_content(sealed: str) -> Refusal:
    message = (
        f"The encrypted content {sealed[:4]}...{sealed[-4:]} could not be verified. Reason: Encrypted content could "
        "not be decrypted or parsed."
    )
    return refusal(400, message, "invalid_encrypted_content")


def unknown_conversation(conversation_id: str) -> Refusal:
    return refusal(404, f"Conversation with id '{conversation_id}' not found.")


def unknown_previous_response(response_id: str) -> Refusal:
    message = f"Previous response with id '{response_id}' not found."
    return refusal(400, message, "previous_response_not_found", "previous_response_id")


def quota_message(key: str) -> str:
    """As real account errors do, it names what no tenant may read: the organization, the project and the key."""
    return (
        f"You exceeded your current quota, please check your plan and billing details. Organization {ORGANIZATION}, "
        f"project {PROJECT}, API key {key}."
    )
