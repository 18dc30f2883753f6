"""The endpoints of the API: what a method and a path ask for."""

from typing import NamedTuple

from gateway.local.simulator import errors

ENDPOINTS = (
    ("create", "POST", "/v1/responses"),
    ("input_tokens", "POST", "/v1/responses/input_tokens"),
    ("compact", "POST", "/v1/responses/compact"),
    ("retrieve", "GET", "/v1/responses/{id}"),
    ("delete", "DELETE", "/v1/responses/{id}"),
    ("cancel", "POST", "/v1/responses/{id}/cancel"),
    ("input_items", "GET", "/v1/responses/{id}/input_items"),
    ("models", "GET", "/v1/models"),
    ("model", "GET", "/v1/models/{id}"),
)


class Asked(NamedTuple):
    """`endpoint` is its name in the table, `id` what stands for {id} in its path."""

    endpoint: str
    id: str


def asked_for(method: str, path: str) -> Asked | errors.Refusal:
    """404 for a path that no endpoint has, 405 for one that none has with this method."""
    allowed = []
    for name, its_method, pattern in ENDPOINTS:
        found = _match(pattern, path)
        if found is not None and method == its_method:
            return Asked(name, found)
        if found is not None:
            allowed.append(its_method)
    return errors.wrong_method(method, path, allowed) if allowed else errors.invalid_url(method, path)


def _match(pattern: str, path: str) -> str | None:
    """What stands for {id}, "" where the pattern has none; None where they differ."""
    parts, given = pattern.split("/"), path.rstrip("/").split("/")
    if len(parts) != len(given) or not all(part in ("{id}", other) for part, other in zip(parts, given, strict=True)):
        return None
    return next((other for part, other in zip(parts, given, strict=True) if part == "{id}"), "")
