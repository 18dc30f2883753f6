"""What is to be judged in a request's body, in one walk: what it names, and its tools, wherever they stand. Pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import lru_cache
from itertools import islice
from typing import Any

from gateway.wire.free_form import ANY, is_free_form
from gateway.wire.invalid import InvalidRequest
from gateway.wire.objects import Object
from gateway.wire.places import LONGEST_KEY, Trail, param_of
from gateway.wire.references import HARMLESS, REFERENCES, Kind, Reference, is_id_like, is_pure_reference
from gateway.wire.spelling import respelt

MOST_REFERENCES = 10_000
# References only where a text stands there; an object is gone through like any other.
NAMES_OR_OBJECTS = {"conversation", "prompt", "container"}
OF_EVERYBODY = re.compile(r"connector_[a-z]+")  # OpenAI's own, by service; which account it opens, a token says
LISTED = {field for _, field in (*REFERENCES, *HARMLESS)}  # looked at first: a body may have very many keys
# What some take for options of a client, or of a language, whose fields then replace those that were judged.
SPREAD = {"extra_body", "extra_headers", "extra_query", "__proto__"}
OF_PARTS = {"type", "file_id", "image_url", "file_url", "file_data", "url", "detail"}  # of what a tool put out
OUTPUT = "output"  # of a tool: what is known there is judged, what is not known is a tool's own
OF_OBJECTS = {"input", "content", "output", "outputs", "tools"}  # whoever counts or judges them sees no list in a list


class Other(Enum):
    """What a field may be to us that is no reference."""

    TOOLS = auto()
    RESPELT = auto()
    SPREAD = auto()


@dataclass(frozen=True, slots=True)
class Tools:
    """`holder` has them as its `tools`, which is neither null nor free-form; `trail` leads there."""

    trail: Trail
    holder: Object


@dataclass(slots=True)
class Survey:
    """Of `body`."""

    body: Object
    references: list[Reference] = field(default_factory=list)
    tools: list[Tools] = field(default_factory=list)

    def see(self, node: Object, trail: Trail, what: Kind | Other, *, is_output: bool) -> None:
        """A field of `node` that is something to us."""
        if what is Other.RESPELT and (not is_output or respelt(str(trail[1])) in OF_PARTS):
            raise _other_letters(trail)
        if node[str(trail[1])] is None:
            return
        if what is Other.SPREAD:
            raise _unknown_field(trail, "Its fields belong beside it.")
        if isinstance(what, Kind):
            self._name(_named(node, trail, what, is_output))
        elif what is Other.TOOLS and not is_output:
            self.tools.append(Tools(trail, node))

    def _name(self, references: Iterator[Reference]) -> None:
        room = MOST_REFERENCES - len(self.references)
        self.references.extend(islice(references, room))
        if next(references, None) is not None:
            raise InvalidRequest(f"Your request names more than {MOST_REFERENCES} stored objects.")


_Place = tuple[Any, Trail | None, str, bool]  # an object or list, where, what holds it, whether it is a tool's output


def survey(body: Object) -> Survey:
    """Whatever the nesting. An id in a list is one reference, like one that stands alone.

    InvalidRequest where it names more than MOST_REFERENCES, or is written in a way that readers may understand
    differently: with a field in other letters, or a list where objects are read.
    """
    found = Survey(body)
    places: list[_Place] = [(body, None, "", False)]
    while places:
        node, trail, holder, is_output = places.pop()
        if isinstance(node, list):
            places.extend(_in_list(node, trail, holder, is_output))
            continue
        for key, value in node.items():
            is_free, what = _rule_of(holder, key) if len(key) <= LONGEST_KEY else (False, _unknown(key))
            if isinstance(value, dict | list) and not is_free:
                places.append((value, (trail, key), key[: LONGEST_KEY + 1], is_output or key == OUTPUT))  # cached
            if what is not None:
                found.see(node, (trail, key), what, is_output=is_output)
    return found


def _in_list(values: list[Any], trail: Trail | None, holder: str, is_output: bool) -> Iterator[_Place]:
    for index, value in enumerate(values):
        if isinstance(value, dict | list):
            if isinstance(value, list) and holder in OF_OBJECTS and (not is_output or holder == OUTPUT):
                raise _no_object((trail, index))
            yield value, (trail, index), holder, is_output


@lru_cache(maxsize=4096)
def _rule_of(holder: str, key: str) -> tuple[bool, Kind | Other | None]:
    """Whether a field is free-form, and what it is to us; None for one that is nothing."""
    if respelt(key) is not None:
        return False, Other.RESPELT
    if key in SPREAD:
        return False, Other.SPREAD
    is_free = is_free_form(holder, key)
    if key == "tools" and not is_free:
        return False, Other.TOOLS
    if key not in LISTED:
        return is_free, None if is_free else _unknown(key)
    kind = REFERENCES.get((holder, key)) or REFERENCES.get((ANY, key))
    if kind is None and not is_free and (holder, key) not in HARMLESS and (ANY, key) not in HARMLESS:
        kind = _unknown(key)
    return is_free, kind


def _unknown(key: str) -> Kind | None:
    return Kind.UNKNOWN if is_id_like(key) else None


def _named(node: Object, trail: Trail, kind: Kind, is_output: bool) -> Iterator[Reference]:
    key = str(trail[1])
    value = node[key]
    if (is_output and kind is Kind.UNKNOWN) or (key in NAMES_OR_OBJECTS and isinstance(value, dict)):
        return
    if kind is Kind.CARRIED and key == "id" and is_pure_reference(node):
        kind = Kind.ITEM
    if key == "connector_id" and isinstance(value, str) and OF_EVERYBODY.fullmatch(value):
        return
    if value == "" and kind in {Kind.CARRIED, Kind.CONTENT, Kind.CITED}:
        return  # it names nothing, and what it would name stands beside it
    for name in value if isinstance(value, list) else (value,):
        yield Reference(trail, str(name) if isinstance(name, str | int | float) else "", kind)


def _no_object(trail: Trail) -> InvalidRequest:
    param = param_of(trail)
    return InvalidRequest(f"Invalid type for '{param}': expected an object.", param=param, code="invalid_type")


def _other_letters(trail: Trail) -> InvalidRequest:
    return _unknown_field(trail, f"Did you mean '{respelt(str(trail[1]))}'?")


def _unknown_field(trail: Trail, hint: str) -> InvalidRequest:
    param = param_of(trail)
    return InvalidRequest(f"Unknown parameter: '{param}'. {hint}", param=param, code="unknown_parameter")
