import json
import time
from random import Random

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.wire.spans import replaced, span_of, with_members

SIGNS = st.text(st.characters(exclude_categories=["Cs"]), max_size=3)  # a lone surrogate has no UTF-8
KEYS = st.one_of(st.sampled_from(["model", "usage", "response", 'mod"el', "model\\", "m\u00e4", "", "{", "x:y"]), SIGNS)
TEXTS = st.one_of(SIGNS, st.sampled_from(['"model": "x"', "}],{", "\\", '\\"model":', "\u2028\U0001f600"]))
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**20), 10**20), st.floats(allow_nan=False, allow_infinity=False), TEXTS
)


class Members(list):
    """An object as its members are written: keys may come twice."""


def containers_of(inner):
    return st.one_of(st.lists(inner, max_size=3), st.lists(st.tuples(KEYS, inner), max_size=4).map(Members))


VALUES = st.recursive(SCALARS, containers_of, max_leaves=12)
OBJECTS = st.lists(st.tuples(KEYS, VALUES), max_size=5).map(Members)


def written(value, random):
    """The text of a value with any white space, and any character of its strings escaped."""
    if isinstance(value, str):
        return '"' + "".join(_escaped(sign, random) for sign in value) + '"'
    if isinstance(value, Members):
        members = [f"{_spaced(key, random)}:{_spaced(item, random)}" for key, item in value]
        return f"{{{','.join(members) or _space(random)}}}"
    if isinstance(value, list):
        return f"[{','.join(_spaced(item, random) for item in value) or _space(random)}]"
    return json.dumps(value)


def _spaced(value, random):
    return _space(random) + written(value, random) + _space(random)


def _escaped(sign, random):
    plain = json.dumps(sign, ensure_ascii=False)[1:-1]
    return f"\\u{ord(sign):04x}" if ord(sign) < 0x10000 and random.random() < 0.2 else plain


def _space(random):
    return random.choice(["", "", " ", "\n", "\t\r "])


DOCUMENTS = st.builds(
    lambda members, seed: (_spaced(members, Random(seed)).encode(), parsed(members)),
    OBJECTS,
    st.integers(0, 999),
)


def parsed(value):
    """The value as a parser sees it: of repeated keys the last."""
    if isinstance(value, Members):
        return {key: parsed(item) for key, item in value}
    return [parsed(item) for item in value] if isinstance(value, list) else value


def paths_in(value, path=()):
    yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from paths_in(item, (*path, key))


def at(value, path):
    for key in path:
        value = value[key]
    return value


@settings(max_examples=80)
@given(DOCUMENTS)
def test_the_span_is_the_value_that_a_parser_sees(drawn):
    document, value = drawn
    assert json.loads(document) == value
    for path in paths_in(value):
        start, end = span_of(document, *path)
        assert json.loads(document[start:end]) == at(value, path)
        assert document[start:end] == document[start:end].strip()
        assert span_of(document, *path, "no such key") is None


@settings(max_examples=80)
@given(DOCUMENTS, st.randoms())
def test_replacing_changes_that_value_and_not_a_byte_beside(drawn, random):
    document, value = drawn
    assume(value)
    path = random.choice([path for path in paths_in(value) if path])
    start, end = span_of(document, *path)
    changed = replaced(document, (start, end), b'{"new": [1]}')
    assert changed[:start] == document[:start]
    assert changed.removeprefix(document[:start]) == b'{"new": [1]}' + document[end:]
    at(value, path[:-1])[path[-1]] = {"new": [1]}
    assert json.loads(changed) == value


NEW = st.dictionaries(KEYS, SCALARS, min_size=1, max_size=3)


@settings(max_examples=200)
@given(DOCUMENTS, NEW)
def test_members_are_set_and_not_a_byte_beside_them_changed(drawn, new):
    document, value = drawn
    values = {key: json.dumps(item).encode() for key, item in new.items()}
    changed = with_members(document, values)
    assert json.loads(changed) == value | new
    added = b",".join(msgspec.json.encode(key) + b":" + values[key] for key in new if key not in value)
    assert blanked(changed, new) == blanked(with_added(document, added), new)


def with_added(document, added):
    """`document` with more members after its opening brace."""
    brace, rest = document.index(b"{") + 1, document[document.index(b"{") + 1 :]
    comma = b"," if added and rest.strip() != b"}" else b""
    return document[:brace] + added + comma + rest


def blanked(document, keys):
    """What is left of an object without the values of some of its members, by the standard library's scanner."""
    text, position, left = document.decode(), document.decode().index("{") + 1, []
    decoder = json.JSONDecoder()
    done = 0
    while (position := skipped(text, position)) < len(text) and text[position] == '"':
        key, position = decoder.raw_decode(text, position)
        position = skipped(text, position)
        _, end = decoder.raw_decode(text, position)
        if key in keys:
            left.append(text[done:position])
            done = end
        position = end
    return [*left, text[done:]]


def skipped(text, position):
    """Behind white space, commas and colons."""
    while position < len(text) and text[position] in " \t\r\n,:":
        position += 1
    return position


@pytest.mark.parametrize(
    ("document", "changed"),
    [
        (b"{}", b'{"max":1}'), (b' { } ', b' {"max":1 } '), (b'{"a":2}', b'{"max":1,"a":2}'),
        (b'{"max":null,"a":2}', b'{"max":1,"a":2}'), (b'{"a":{"max":7},"max" : [7] }', b'{"a":{"max":7},"max" : 1 }'),
        (b'{"max":7,"max":8}', b'{"max":1,"max":1}'), (rb'{"m\u0061x":7}', rb'{"m\u0061x":1}'),
    ],
)  # fmt: skip
def test_where_a_member_is_written(document, changed):
    assert with_members(document, {"max": b"1"}) == changed


@pytest.mark.parametrize(
    ("document", "path", "value"),
    [
        (b'{"model":"a"}', ["model"], b'"a"'),
        (b'{"model":"a","model" : "b" }', ["model"], b'"b"'),
        (b'{"x":{"model":"a"},"model":1,"y":[{"model":2}]}', ["model"], b"1"),
        (rb'{"mod\u0065l":"a"}', ["model"], b'"a"'),
        (rb'{"a\"model\":\"x\"":1,"model":"}{\""}', ["model"], rb'"}{\""'),
        (b'{"a":{"b":{"c":[1, 2]}}}', ["a", "b", "c"], b"[1, 2]"),
        (b'{"a":{"b":1},"a":{"c":2}}', ["a", "b"], None),
        (b'{"x\xff\\u0041":1,"model":2}', ["model"], b"2"),
        (b'["model",{"model":1}]', ["model"], None),
        (b'{"a":"",":x":1}', ["a", ","], None),
        (b'"{\\"model\\":1}"', ["model"], None),
        (b'{"a":"{\\"model\\":1}"}', ["a", "model"], None),
        (b"{}", ["model"], None), (b"12", ["model"], None), (b"", ["model"], None),
        (b' {"a":-1.5e3} ', [], b'{"a":-1.5e3}'),
    ],
)  # fmt: skip
def test_where_a_value_stands(document, path, value):
    span = span_of(document, *path)
    assert (None if span is None else document[slice(*span)]) == value


def test_what_is_skipped_does_not_hold_up_the_loop():
    """A text of 8 MB took seconds while strings were matched a character at a time."""
    document = b'{"input":"' + rb"data:\n" * (1 << 20) + b'","tools":[' + b'{"a":[{}]},' * 10_000 + b'{}],"model":"m"}'
    started = time.process_time()
    assert document[slice(*span_of(document, "model"))] == b'"m"'
    assert time.process_time() - started < 1
