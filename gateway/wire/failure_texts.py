"""The words in which an upstream says, inside an answer, that it failed: changed where they must be, no byte beside.

An event or a plain answer whose type ends in `error`, or with a message and nothing that a model said, is all words; of
any other the message, and the error that it or its response bears. Pure.
"""

import re
from collections.abc import Callable, Iterator

import msgspec

from gateway.wire.objects import Object, object_in
from gateway.wire.spans import STRING, Span, replaced, span_of
from gateway.wire.stream import data_of, events_of, with_data

MARK, WORDS = b'rror"', b'"message"'
FAILURE = re.compile(rb'rror"(?!\s*+:\s*+null)')  # begins with plain bytes, which are searched for ten times as fast
MESSAGE = re.compile(rb'"message"\s*+:')
LITERAL = re.compile(STRING, re.DOTALL)

MOST_BYTES = 64 * 1024  # of one error: reading it for secrets takes a microsecond a byte

Change = Callable[[str], str]


class TooMuchText(Exception):
    """An error of more words than any upstream means to say."""


def may_tell_of_failure(text: bytes) -> bool:
    """A search of the bytes: False for what need not be parsed, as are nearly all events."""
    if MARK in text and FAILURE.search(text):
        return True
    return WORDS in text and MESSAGE.search(text) is not None


def changed_events(block: bytes, change: Change) -> tuple[bytes, set[str]]:
    """A block of whole events with `change` done to the texts of failures, and the codes and types they name.

    TooMuchText where an error is larger than MOST_BYTES.
    """
    codes: set[str] = set()
    return b"".join([_changed_event(event, change, codes) for event in events_of(block)]), codes


def changed_answer(document: bytes, change: Change) -> tuple[bytes, set[str]]:
    """The same for a plain answer, or the data of one event."""
    message = object_in(document)
    if message is None:  # nobody can say what in it is an error
        return _changed_texts(document, (0, len(document)), change), set()
    codes: set[str] = set()
    for path, error in _errors_of(message):
        codes |= {str(error[key]) for key in ("code", "type") if isinstance(error, dict) and error.get(key)}
        span = span_of(document, *path)
        if span is not None:
            document = _changed_texts(document, span, change)
    return document, codes


def _changed_event(event: bytes, change: Change, codes: set[str]) -> bytes:
    if not may_tell_of_failure(event):
        return event
    data = data_of(event)
    changed, found = changed_answer(data, change)
    codes |= found
    return event if changed == data else with_data(event, changed)


def _errors_of(message: Object) -> Iterator[tuple[tuple[str, ...], object]]:
    """Where the texts of failures stand, and the error that each place is about."""
    error, response = message.get("error"), message.get("response")
    if _is_all_words(message):
        yield (), error if isinstance(error, dict) else message
        return
    if isinstance(message.get("message"), str):
        yield ("message",), message
    if error:
        yield ("error",), error
    if isinstance(response, dict) and response.get("error"):
        yield ("response", "error"), response["error"]


def _is_all_words(message: Object) -> bool:
    if str(message.get("type")).lower().endswith("error"):
        return True
    return isinstance(message.get("message"), str) and not _is_answer(message)


def _is_answer(message: Object) -> bool:
    """Whether a model may have said something in it: some relays put a message of theirs around answers."""
    has_output = isinstance(message.get("output"), list) or isinstance(message.get("choices"), list)
    return has_output or isinstance(message.get("response"), dict)


def _changed_texts(document: bytes, span: Span, change: Change) -> bytes:
    start, end = span
    if end - start > MOST_BYTES:
        raise TooMuchText(f"an error of {end - start} bytes")
    changed = LITERAL.sub(lambda literal: _changed_literal(literal[0], change), document[start:end])
    return replaced(document, span, changed)


def _changed_literal(literal: bytes, change: Change) -> bytes:
    try:
        text = msgspec.json.decode(literal, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):  # a lone surrogate, bytes that are no text
        text = literal[1:-1].decode("utf-8", "replace")
    changed = change(text)
    return literal if changed == text else msgspec.json.encode(changed)
