"""What we read of a create request. The body stays bytes; every field that is not named here passes untouched. Pure."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gateway.wire.document import object_of
from gateway.wire.invalid import InvalidRequest as InvalidRequest  # for who imports it from here
from gateway.wire.objects import Object
from gateway.wire.spans import with_members

WITHOUT_CONTROLS = r"\A[^\x00-\x1f]*\Z"  # what PostgreSQL takes and a log shows as it is
MOST_OUTPUT_TOKENS = 10**9  # more than any model writes, little enough to be held
MOST_TOOL_CALLS = 10_000  # likewise


class CreateRequest(msgspec.Struct):
    """The fields of `POST /v1/responses` that matter to us (protocol.md 1.1)."""

    model: Annotated[str, Meta(min_length=1, max_length=200, pattern=WITHOUT_CONTROLS)] | UnsetType = UNSET
    stream: bool | None = None
    background: bool | None = None
    store: bool | None = None
    max_output_tokens: Annotated[int, Meta(le=MOST_OUTPUT_TOKENS)] | None = None
    max_tool_calls: Annotated[int, Meta(ge=0, le=MOST_TOOL_CALLS)] | None = None  # less than none: no bound to some
    service_tier: Annotated[str, Meta(pattern=WITHOUT_CONTROLS)] | None = None
    conversation: Any = None
    previous_response_id: Any = None
    prompt: Any = None
    input: str | list[Any] | None = None
    tools: Any = None
    context_management: Any = None
    personality: Any = None
    multi_agent: Any = None
    prompt_cache_key: Any = None


def parse_create(body: bytes) -> CreateRequest:
    """The request in `body`; InvalidRequest in OpenAI's words where it is none."""
    return create_of(object_of(body))


def create_of(fields: Object) -> CreateRequest:
    """The request that a body's object is; InvalidRequest where a field that we read has a wrong value."""
    try:
        request = msgspec.convert(fields, CreateRequest)
    except msgspec.ValidationError as error:
        raise _invalid_field(str(error)) from None
    if request.model is UNSET:
        raise InvalidRequest("Missing required parameter: 'model'.", param="model", code="missing_required_parameter")
    return request


def with_fields(body: bytes, fields: Mapping[str, object]) -> bytes:
    """`body`, which was parsed before, with these top-level fields set, and not a byte changed beside their values."""
    return with_members(body, {name: msgspec.json.encode(value) for name, value in fields.items()})


def with_model(body: bytes, model: str) -> bytes:
    """`body` with another model's name."""
    return with_fields(body, {"model": model})


def _invalid_field(explanation: str) -> InvalidRequest:
    """msgspec says e.g. "Expected `str`, got `int` - at `$.model`"."""
    reason, _, place = explanation.partition(" - at `$")
    param = place.rstrip("`").removeprefix(".")
    code = "invalid_type" if reason.startswith("Expected `") and "got" in reason else "invalid_value"
    return InvalidRequest(f"Invalid value for '{param}': {reason[0].lower()}{reason[1:]}.", param=param, code=code)
