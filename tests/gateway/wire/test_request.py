import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.request import InvalidRequest, parse_create, with_fields, with_model


def request(**fields):
    return json.dumps({"model": "gpt-4.1", "input": "hi", **fields}).encode()


def refusal(body):
    with pytest.raises(InvalidRequest) as caught:
        parse_create(body)
    return caught.value


def test_what_we_read_is_read_and_unknown_fields_are_no_matter():
    asked = parse_create(request(stream=True, max_output_tokens=64, service_tier="flex", new_field={"a": [1.5]}))
    assert (asked.model, asked.stream, asked.max_output_tokens, asked.service_tier) == ("gpt-4.1", True, 64, "flex")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b'{"model":"m"} x', b"\xff", b'{"model":"\xff"}', rb'{"model":"\ud800"}', b'{"a":NaN}'],
)  # fmt: skip
def test_what_is_no_json_is_refused_in_openais_words(body):
    assert refusal(body).message.startswith("We could not parse the JSON body of your request.")


@pytest.mark.parametrize("body", [b"[]", b"12", b"null", b'"model"'])
def test_a_body_that_is_no_object_is_refused(body):
    assert refusal(body).message.startswith("The body of your request must be a JSON object.")


def test_a_missing_model_is_named():
    error = refusal(b"{}")
    assert (error.param, error.code) == ("model", "missing_required_parameter")


@pytest.mark.parametrize(
    ("param", "value", "code"),
    [
        ("model", 7, "invalid_type"), ("model", None, "invalid_type"), ("model", "", "invalid_value"),
        ("model", "m" * 201, "invalid_value"), ("model", "a\0b", "invalid_value"), ("model", "a\n", "invalid_value"),
        ("stream", "true", "invalid_type"), ("stream", 1, "invalid_type"), ("background", "no", "invalid_type"),
        ("max_output_tokens", "9", "invalid_type"), ("max_output_tokens", 10**26, "invalid_value"),
        ("max_tool_calls", 1.5, "invalid_type"), ("max_tool_calls", 10_001, "invalid_value"),
        ("service_tier", "\0", "invalid_value"), ("service_tier", {}, "invalid_type"),
    ],
)  # fmt: skip
def test_a_field_that_is_wrong_is_named(param, value, code):
    error = refusal(request(**{param: value}))
    assert (error.param, error.code) == (param, code)
    assert error.message.startswith(f"Invalid value for '{param}': expected")


@given(st.binary(max_size=40))
def test_any_body_is_a_request_or_refused(body):
    for attempt in (body, b'{"model":"m","x":' + body + b"}", b'{"x' + body + b'":1,"model":"m"}'):
        try:
            parse_create(attempt)
        except InvalidRequest:
            continue
        with_model(attempt, "other")


def test_another_model_is_written_and_not_a_byte_beside():
    body = '{ "input" : "model\\": 你" , "model":\t"gpt-4.1" ,"tools":[{"model":"x"}]}'.encode()
    assert with_model(body, 'a"b') == body.replace(b'"gpt-4.1"', rb'"a\"b"')


def test_fields_are_set_where_they_are_null_or_missing():
    body = '{"model":"m", "max_output_tokens" : null , "input":"你 \\"max_output_tokens\\": 7"}'.encode()
    assert with_fields(body, {"max_output_tokens": 512, "max_tool_calls": 8}) == (
        b'{"max_tool_calls":8,' + body[1:].replace(b": null", b": 512")
    )
