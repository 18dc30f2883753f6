"""A request as it was read from the socket."""

import re
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl

import msgspec


class Query:
    """The fields of a query. A list is written `include[]=a&include[]=b`, `include[0]=a` or `include=a`."""

    def __init__(self, text: str) -> None:
        self._fields = parse_qsl(text, keep_blank_values=True)

    def one(self, name: str) -> str | None:
        return next((value for key, value in self._fields if key == name), None)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self._fields if re.sub(r"\[\d*\]$", "", key) == name]


class Request(msgspec.Struct):
    method: str
    path: str
    query: str
    headers: list[tuple[str, str]]
    body: bytes
    asked: dict[str, Any] | None

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)

    @property
    def client_request_id(self) -> str | None:
        return self.header("x-client-request-id")

    @property
    def bearer(self) -> str | None:
        scheme, _, key = (self.header("authorization") or "").partition(" ")
        return key.strip() or None if scheme.lower() == "bearer" else None

    @property
    def query_fields(self) -> Query:
        return Query(self.query)

    def logged_headers(self) -> dict[str, str]:
        """All headers as received; of Authorization only the SHA-256 of its value."""
        logged: dict[str, str] = {}
        for name, value in self.headers:
            kept = "sha256:" + sha256(value.encode()).hexdigest() if name == "authorization" else value
            logged[name] = f"{logged[name]}, {kept}" if name in logged else kept
        return logged


def parse(body: bytes) -> dict[str, Any] | None:
    """The body as a JSON object, or None."""
    try:
        parsed = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return None
    return parsed if isinstance(parsed, dict) else None
