"""A request body as the JSON object that it is. Pure."""

import msgspec

from gateway.wire.invalid import InvalidRequest
from gateway.wire.objects import Object


def object_of(body: bytes) -> Object:
    """The object in `body`; InvalidRequest in OpenAI's words where it is none."""
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidRequest(
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP "
            "library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)"
        ) from None
    if not isinstance(fields, dict):
        raise InvalidRequest("The body of your request must be a JSON object.")
    return fields
