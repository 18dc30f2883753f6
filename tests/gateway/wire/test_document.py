import json
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.document import MOST_DEPTH, MOST_VALUES, object_of
from gateway.wire.invalid import InvalidRequest

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


def refusal(body):
    with pytest.raises(InvalidRequest) as caught:
        object_of(body)
    return caught.value


@given(st.dictionaries(st.text(), VALUES), st.booleans(), st.sampled_from([None, 1]))
def test_every_object_is_read_however_it_is_written(value, escaped, indent):
    assert object_of(json.dumps(value, ensure_ascii=escaped, indent=indent).encode()) == value


def nested(depth, *, filler='"]}\\"[{"'):
    """An object with a value `depth` levels deep, itself included, beside strings full of brackets."""
    return ('{"s":' + filler + ',"a":' + "[" * (depth - 1) + "]" * (depth - 1) + "}").encode()


@pytest.mark.parametrize("filler", ['""', '"' + "[{" * 500 + '"', r'"\\"', r'"\\\"[[\\\\"', r'"\"[\n\"\u0022["'])
def test_depth_is_counted_outside_of_strings(filler):
    many = filler[:-1] + "x" * 300 + filler[-1:]
    assert object_of(nested(MOST_DEPTH, filler=many))
    assert f"more than {MOST_DEPTH} levels" in refusal(nested(MOST_DEPTH + 1, filler=many)).message


def test_many_levels_beside_each_other_are_not_deep():
    assert object_of(b'{"a":[' + b",".join([b'{"b":[[]]}'] * 10_000) + b"]}")


@pytest.mark.parametrize("value", [b"1", b"[]", b"{}", b'""', b'{"":0}', b'"\\",{[\\\\"'])
def test_values_are_counted(value):
    def body(count):
        return b'{"a":[' + b",".join([value] * count) + b'],"s":"' + b"," * MOST_VALUES + b'"}'

    each = 2 if value == b'{"":0}' else 1
    assert object_of(body((MOST_VALUES - 4) // (each + value.startswith((b"[", b"{")) * (each == 1))))
    assert "values" in refusal(body(MOST_VALUES + 1)).message


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        (b"\xef\xbb\xbf{}", "byte order mark"), ("{}".encode("utf-16"), "UTF-16"), ("{}".encode("utf-16-le"), "UTF-16"),
        ("{}".encode("utf-32"), "UTF-16"), (b'{"a":"\xff"}', "not in UTF-8"), (b'{"a":"\xed\xa0\x80"}', "not in UTF-8"),
        (rb'{"a":"\ud83d"}', "surrogate"), (rb'{"a":"\udc00 x"}', "surrogate"), (b'{"a":NaN}', ""),
        (b'{"a":Infinity}', ""), (b'{"a":1e999}', ""), (b'{"a":1,}', ""), (b"{'a':1}", ""), (b'{"a":01}', ""),
        (b'{"a":1' + b"0" * 5000 + b"}", ""), (b'{"a":"\n"}', ""), (b'{"a":1}{}', ""), (b"", ""), (b"\0", ""),
        (b"[" * 100_000, ""), (b'{"a":' * 100_000, ""),
    ],
)  # fmt: skip
def test_what_is_no_json_is_told_why(body, hint):
    message = refusal(body).message
    assert "could not parse the JSON body" in message or "levels deep" in message
    assert hint in message


def test_the_reason_repeats_nothing_of_the_body():
    for body in (b'{"secret-canary', b'{"secret-canary": secret-canary}', b'{"a": "secret-canary\xff"}'):
        assert "canary" not in refusal(body).message


@pytest.mark.parametrize("kind", [b"[]", b"1", b'"a"', b"null", b"true", b"1.5"])
def test_only_an_object_is_a_request(kind):
    assert "must be a JSON object" in refusal(kind).message


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b'{"model":"a","model":"b"}', "model"), (b'{"model":"a", "stream":true,\n "model" :"a"}', "model"),
        (rb'{"\u006dodel":"a","model":"b"}', "model"), (rb'{"model":"a","\u006D\u006fdel":"b"}', "model"),
        (b'{"input":[{"type":"a","id":"x","id":"y"}]}', "input[0].id"),
        (b'{"tools":[{},{"type":"function","type":"web_search"}]}', "tools[1].type"),
        (b'{"input":[{"content":[{"image_url":"a","image_url":"b"}]}]}', "input[0].content[0].image_url"),
        (b'{"prompt":{"id":"a","variables":{"id":1},"id":"b"}}', "prompt.id"),
        (rb'{"x":"\u003a","store":1,"store":2}', "store"), (rb'{"x":"a\\u003a:","store":1,"store":2}', "store"),
        (b'{"model":"a","model":"b:c:d","x":":"}', "model"),
        (b'{"tools":[{"skill_id":"a","skill_id":null}]}', "tools[0].skill_id"),
        (b'{"new_ids":["a"],"new_ids":[]}', "new_ids"), (b'{"temperature":1,"temperature":2}', "temperature"),
        (b'{"foo":{"file_id":"a"},"foo":{}}', "foo"), (b'{"metadata":{"a":"b"},"metadata":{"a":"c"}}', "metadata"),
        (b'{"input":[{"foo":[{"file_id":"a"}],"foo":1}]}', "input[0].foo"), (b'{"a":[[{"b":1,"b":1}]]}', "a[0][0].b"),
        (b'{"input":[{"parameters":{"type":1,"type":2}}]}', "input[0].parameters.type"),
        (b'{"input":[{"headers":{"x":1,"x":2}}]}', "input[0].headers.x"),
        (b'{"text":{"schema":{"x":1,"x":2}}}', "text.schema.x"), (b'{"input":[{"variables":{"x":1,"x":2}}]}',
         "input[0].variables.x"),
        (b'{"' + b"k" * 65 + b'_passthrough":{"x":1,"x":2}}', "k" * 64 + ".x"),
        (b'{"' + b"k" * 1000 + b'":{"id":"a","id":"b"}}', "k" * 64 + ".id"),
    ],
)  # fmt: skip
def test_what_is_judged_may_not_stand_twice(body, param):
    error = refusal(body)
    assert (error.param, error.code) == (param, "duplicate_parameter")
    assert f"'{param}'" in error.message


@pytest.mark.timeout(20)  # of minutes, where each member's name is made with its holder's
def test_a_long_key_is_not_copied_for_each_of_its_members():
    members = ",".join(f'"a{number}":0' for number in range(100_000))
    body = rf'{{"x":"\u003a","{"k" * 8_000_000}":{{{members}}}}}'
    assert object_of(body.encode())["x"] == ":"


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","Model":"b"}', b'{"model":"a","mo\\u0064el2":"b"}', b'{"metadata":{"id":"a","id":"b"}}',
        b'{"input":"\\"model\\":1,\\"model\\":2","model":"a"}', b'{"tools":[{"parameters":{"type":1,"type":2}}]}',
        b'{"model":"a","metadata":{"model":"b"}}', b'{"text":{"format":{"schema":{"a":1,"a":1}}}}',
        b'{"input":[{"arguments":{"a":[{"b":1,"b":2}]}}]}', b'{"x_passthrough":{"a":1,"a":2}}',
        rb'{"x":"\u003a\u003A"}', rb'{"x":"\\u003a"}', rb'{"x":"\u003c\u003A"}', b'{"a":1,"b":{"a":1}}',
    ],
)  # fmt: skip
def test_other_keys_may(body):
    object_of(body)


def test_every_judged_key_is_found_wherever_its_twin_stands():
    random = Random(4)
    for name in ("model", "stream", "service_tier", "store", "background", "max_output_tokens", "max_tool_calls",
                 "previous_response_id", "conversation", "prompt", "tools", "input"):  # fmt: skip
        for _ in range(20):
            members = [f'"k{number}": {json.dumps("a:b" * random.randrange(4))}' for number in range(6)]
            for _ in range(2):
                written = random.choice([json.dumps(name), f'"\\u{ord(name[0]):04x}{name[1:]}"'])
                members.insert(random.randrange(len(members)), f"{written} : null")
            assert refusal(f"{{{','.join(members)}}}".encode()).param == name
