"""Where a value stands in a JSON document, so that it can be replaced and not a byte beside it. Pure.

Only for documents that have been parsed before: what is asked of an invalid one is undefined.
"""

import re

TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\],:]', re.DOTALL)
OPENING, CLOSING = b"{[", b"}]"


def span_of(document: bytes, *path: str) -> tuple[int, int] | None:
    """Start and end of the value at `path`, a chain of object keys; None where there is none.

    The last of repeated keys counts, as parsers have it.
    """
    start, end = 0, len(document)
    for key in path:
        found = _member(document, start, end, key)
        if found is None:
            return None
        start, end = found
    return start, end


def replaced(document: bytes, span: tuple[int, int], value: bytes) -> bytes:
    return document[: span[0]] + value + document[span[1] :]


def _member(document: bytes, start: int, end: int, key: str) -> tuple[int, int] | None:
    """The span of the value of `key` in the object that spans `start` to `end`."""
    if document[start:end].lstrip()[:1] != b"{":
        return None
    depth, last_string, value_start, found = 0, b"", -1, None
    for token in TOKEN.finditer(document, start, end):
        text = token[0]
        if depth == 1 and text == b":" and _is(last_string, key):
            value_start = token.end()
        elif depth == 1 and text in b",}" and value_start >= 0:
            found, value_start = (value_start, token.start()), -1
        if text in OPENING:
            depth += 1
        elif text in CLOSING:
            depth -= 1
        last_string = text
    return _trimmed(document, *found) if found else None


def _is(string: bytes, key: str) -> bool:
    if b"\\" not in string:
        return string == b'"%b"' % key.encode()
    return _unescaped(string) == key


def _unescaped(string: bytes) -> str:
    return re.sub(r"\\u([0-9a-fA-F]{4})", lambda code: chr(int(code[1], 16)), string[1:-1].decode())


def _trimmed(document: bytes, start: int, end: int) -> tuple[int, int]:
    while document[start : start + 1].isspace():
        start += 1
    while document[end - 1 : end].isspace():
        end -= 1
    return start, end
