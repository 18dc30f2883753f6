"""May this request name that stored object? Until ownership is recorded, none may."""

from gateway.wire.references import references_of
from gateway.wire.request import CreateRequest, InvalidRequest


def refuse_stored_objects(request: CreateRequest) -> None:
    """InvalidRequest, naming the parameter, where the request names or makes something that outlives it upstream."""
    if request.background:
        raise InvalidRequest("Background responses are not supported yet.", param="background", code="invalid_value")
    for param in references_of(request):
        message = f"'{param}' names a stored object, which this gateway does not support yet."
        raise InvalidRequest(message, param=param, code="invalid_value")
