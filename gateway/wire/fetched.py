"""Images and files of a request's body that stand at an address, which the upstream opens. Pure.

One table says of each field that is called an address what it is; one that nobody knows is taken to be opened.
"""

from collections.abc import Iterator

from gateway.wire.objects import Object
from gateway.wire.places import Trail, param_of
from gateway.wire.references import ANY, is_free_form

ENDINGS = ("url", "urls", "uri", "uris")
# (what holds it, the field), as in the table of references.
FETCHED: set[tuple[str | None, str]] = {
    (ANY, "image_url"),
    (ANY, "file_url"),
    ("image_url", "url"),
    ("file_url", "url"),
    ("outputs", "url"),  # an image that a code interpreter made
}
# Read or cited before, or judged with its tool (gateway/permission.py).
NOT_FETCHED: set[tuple[str | None, str]] = {
    ("action", "url"),
    ("annotations", "url"),
    ("sources", "url"),
    ("tools", "server_url"),
}


def is_address(key: str) -> bool:
    return key.casefold().endswith(ENDINGS)


def fetched_in(body: Object) -> Iterator[str]:
    """The parameters of `body` at which an address stands that is to be opened; `data:` is none."""
    return (param_of(place) for place in _places_in(body, None, ""))


def _places_in(value: object, place: Trail | None, holder: str) -> Iterator[Trail]:
    if isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _places_in(inner, (place, index), holder)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if is_address(key) and (holder, key) not in NOT_FETCHED and _has_address(inner):
                yield place, key
            if isinstance(inner, dict | list) and not is_free_form(holder, key):
                yield from _places_in(inner, (place, key), key)


def _has_address(value: object) -> bool:
    texts = value if isinstance(value, list) else (value,)
    return any(isinstance(text, str) and not text.lstrip().lower().startswith("data:") for text in texts)
