"""Where a value stands in a JSON document, so that it can be replaced and not a byte beside it. Pure.

Only for documents that have been parsed before: what is asked of an invalid one is undefined. What is not on the path
is skipped by possessive patterns, about as fast as a parser, so that a large body does not hold up the event loop.
"""

import re
from collections.abc import Iterator, Mapping

import msgspec

STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
KEY = re.compile(rb"[\s,]*+(" + STRING + rb")\s*+:\s*+", re.DOTALL)
SCALAR = re.compile(STRING + rb"|[^\s,}\]]++", re.DOTALL)
BESIDE = rb'[^"{}\[\]]*+'
NEXT_BRACKET = re.compile(BESIDE + rb"(?:" + STRING + BESIDE + rb")*+([{}\[\]])", re.DOTALL)
OPENING = b"{["
NOTHING = re.compile(rb"\s*+}")

Span = tuple[int, int]


def span_of(document: bytes, *path: str) -> Span | None:
    """Start and end of the value at `path`, a chain of object keys; None where there is none.

    The last of repeated keys counts, as parsers have it.
    """
    start = len(document) - len(document.lstrip())
    span: Span | None = (start, len(document.rstrip()))
    for key in path:
        if span is None:
            return None
        span = _value_of(document, span[0], key)
    return span


def replaced(document: bytes, span: Span, value: bytes) -> bytes:
    return document[: span[0]] + value + document[span[1] :]


def with_members(document: bytes, values: Mapping[str, bytes]) -> bytes:
    """The object `document` with each key's value replaced wherever it stands, else added after the opening brace.

    Repeated keys are all replaced: whichever of them a parser takes, it takes this one.
    """
    start = document.index(b"{") + 1
    pieces, done, missing = [document[:start], b""], start, dict(values)
    is_any_there = any(_may_hold(document, key) for key in values)
    for name, span in _members(document, start - 1) if is_any_there else ():
        key = next((key for key in values if _is(name, key)), None)
        if key is not None:
            pieces += (document[done : span[0]], values[key])
            done = span[1]
            missing.pop(key, None)
    if missing:
        added = b",".join(msgspec.json.encode(key) + b":" + value for key, value in missing.items())
        pieces[1] = added if NOTHING.match(document, start) else added + b","
    return b"".join((*pieces, document[done:]))


def _value_of(document: bytes, start: int, key: str) -> Span | None:
    found = None
    for name, span in _members(document, start):
        if _is(name, key):
            found = span
    return found


def _members(document: bytes, start: int) -> Iterator[tuple[bytes, Span]]:
    """Key, as it is written, and span of the value of each member of the object at `start`; none of anything else."""
    if not document.startswith(b"{", start):
        return
    position = start + 1
    while member := KEY.match(document, position):
        position = _end_of_value(document, member.end())
        yield member[1], (member.end(), position)


def _end_of_value(document: bytes, start: int) -> int:
    if document[start] not in OPENING:
        scalar = SCALAR.match(document, start)
        return scalar.end() if scalar else len(document)
    depth, position = 0, start
    while bracket := NEXT_BRACKET.match(document, position):
        position = bracket.end()
        depth += 1 if bracket[1] in OPENING else -1
        if depth == 0:
            break
    return position


def _may_hold(document: bytes, key: str) -> bool:
    """Whether `key` may be a key anywhere: a search, far faster than going through. ASCII is only escaped as \\u00.."""
    return not (key.isascii() and key.isidentifier()) or b'"%b"' % key.encode() in document or b"\\u00" in document


def _is(string: bytes, key: str) -> bool:
    if b"\\" not in string:
        return string == b'"%b"' % key.encode()
    try:
        return bool(msgspec.json.decode(string) == key)
    except (msgspec.DecodeError, UnicodeDecodeError):  # parsers that skip a key do not look at its characters
        return False
