"""The JSON object that a request's body is, within bounds of depth and number that are checked before it is made. Pure.

A value takes up to a hundred times its bytes once it is an object of Python's; a deep one exhausts whoever walks it.
"""

import codecs
import re
from itertools import accumulate

import msgspec

from gateway.wire.duplicates import first_duplicate
from gateway.wire.invalid import InvalidRequest
from gateway.wire.objects import Object

MOST_DEPTH = 200  # schemas of tools nest a dozen levels, each of them two of JSON's
MOST_VALUES = 250_000  # a million tokens of conversation have a third of it
NO_JSON = (
    "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library "
    "correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)"
)
MARKS = b'"[]{},'
ALL_BUT_MARKS = bytes(set(range(256)) - set(MARKS))
STEPS = bytes.maketrans(b"[{]},", b"\x01\x01\xff\xff\x00")  # one deeper, one up (signed), another value
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
UTF_16_AND_32 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)


def object_of(body: bytes) -> Object:
    """The object in `body`, InvalidRequest where it is none, or one that parsers may read differently."""
    _refuse_shape(body)
    try:
        value = _decoder.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"{NO_JSON} {_reason(body, error)}".rstrip()) from None
    if not isinstance(value, dict):
        kind = {list: "array", str: "str", type(None): "null"}.get(type(value), type(value).__name__)
        raise InvalidRequest(f"The body of your request must be a JSON object. Expected `object`, got `{kind}`.")
    if (param := first_duplicate(body, value)) is not None:
        raise InvalidRequest(f"Duplicate parameter: '{param}'.", param=param, code="duplicate_parameter")
    return value


def _refuse_shape(body: bytes) -> None:
    """By counting, without a look at where strings are, wherever that is enough."""
    openings = body.count(b"[") + body.count(b"{")
    if openings <= MOST_DEPTH and (len(body) <= MOST_VALUES or openings + body.count(b",") <= MOST_VALUES):
        return
    steps = _steps(body)
    if len(steps) - steps.count(b"\xff") > MOST_VALUES:
        raise _too_many()
    if max(accumulate(memoryview(steps).cast("b")), default=0) > MOST_DEPTH:
        message = f"The body of your request is nested more than {MOST_DEPTH} levels deep."
        raise InvalidRequest(message, code="invalid_value")


def _steps(body: bytes) -> bytes:
    """Brackets and commas outside of strings, as STEPS has them."""
    if b'\\"' in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    marks = body.translate(STEPS, ALL_BUT_MARKS)
    if marks.count(b'"') > 4 * MOST_VALUES:  # of a key and a value each
        raise _too_many()
    return b"".join(marks.split(b'"')[::2])


def _too_many() -> InvalidRequest:
    return InvalidRequest(f"The body of your request has more than {MOST_VALUES} values.", code="invalid_value")


def _reason(body: bytes, error: Exception) -> str:
    """What can be said of a body that is no JSON without a word of what is in it."""
    if body.startswith(codecs.BOM_UTF8):
        return "It begins with a byte order mark: leave that out."
    if body.startswith(UTF_16_AND_32) or b"\0" in body[:4]:
        return "It is in UTF-16 or UTF-32: send UTF-8."
    if isinstance(error, UnicodeDecodeError):
        return "It is not in UTF-8."
    if SURROGATE.search(body) and not isinstance(error, RecursionError):
        return "It may hold half a surrogate pair: \\ud83d must be followed by its other half."
    return ""


_decoder: msgspec.json.Decoder[object] = msgspec.json.Decoder()
