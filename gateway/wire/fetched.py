"""Images and files of a request's body that stand at an address, which the upstream opens. Pure.

One table says of each field that is called an address what it is; one that nobody knows is taken to be opened.
"""

import re
from collections.abc import Iterator

from gateway.wire.free_form import ANY, is_free_form
from gateway.wire.objects import Object
from gateway.wire.places import Trail, param_of

ENDINGS = ("url", "urls", "uri", "uris")
# Read or cited before, or judged with its tool (gateway/permission.py).
NOT_FETCHED: set[tuple[str | None, str]] = {
    ("action", "url"),
    ("annotations", "url"),
    ("results", "url"),
    ("sources", "url"),
    ("tools", "server_url"),
}
# Meant for what is there itself, or for an id: some upstreams open an address in them. By the type of what has them.
IN_PLACE: dict[str, str | None] = {
    "file_data": ANY, "file_id": ANY, "image": ANY, "video": ANY, "audio": ANY, "data": ANY,
    "result": "image_generation_call",
}  # fmt: skip
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}:[/\\]")  # base64 has no colon
LONGEST_SCHEME = 200  # with what readers of addresses pass over
PASSED_OVER = dict.fromkeys((*range(33), 0xFEFF))


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
            if _is_opened(value, key, inner, holder):
                yield place, key
            if isinstance(inner, dict | list) and not is_free_form(holder, key):
                yield from _places_in(inner, (place, key), key)


def _is_opened(node: Object, key: str, value: object, holder: str) -> bool:
    if is_address(key) and (holder, key) not in NOT_FETCHED:
        return any(not text.lstrip().lower().startswith("data:") for text in _texts_in(value))
    if key in IN_PLACE and IN_PLACE[key] in {ANY, node.get("type")}:
        return any(ADDRESS.match(text[:LONGEST_SCHEME].translate(PASSED_OVER)) for text in _texts_in(value))
    return False


def _texts_in(value: object) -> Iterator[str]:
    """In whichever lists they are; objects are gone through by themselves."""
    rest = [value]
    while rest:
        value = rest.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            rest.extend(value)
