"""The request types of the installed openai package: every field that looks like a reference or an address has its
place in a table, so has every free-form part, and what the content is of every type of item.
"""

import collections.abc
import typing

import pytest
import typing_extensions
from openai.types.beta import response_compact_params as beta_compact
from openai.types.beta import response_create_params as beta_create
from openai.types.beta.beta_response_input_item_param import BetaResponseInputItemParam
from openai.types.beta.responses import input_token_count_params as beta_count
from openai.types.responses import input_token_count_params, response_compact_params, response_create_params
from openai.types.responses.response_input_item_param import ResponseInputItemParam

from gateway.wire.fetched import NOT_FETCHED, is_address
from gateway.wire.free_form import ANY, FREE_FORM
from gateway.wire.references import CONTENT_FIELDS, HARMLESS, REFERENCES, is_id_like

REQUESTS = [
    response_create_params.ResponseCreateParamsStreaming,
    response_create_params.ResponseCreateParamsNonStreaming,
    response_compact_params.ResponseCompactParams,
    input_token_count_params.InputTokenCountParams,
    beta_create.ResponseCreateParamsStreaming,
    beta_compact.ResponseCompactParams,
    beta_count.InputTokenCountParams,
]
# Addresses that an upstream opens.
OPENED = {(ANY, "image_url"), (ANY, "file_url"), ("image_url", "url"), ("file_url", "url"), ("outputs", "url")}
NAMED_OTHERWISE = {"encrypted_content", "container", "conversation", "prompt"}


# What an item has beside its content.
BESIDE = {
    "id", "type", "status", "role", "phase", "call_id", "caller", "agent", "author", "recipient", "name", "namespace",
    "async", "execution", "environment", "container_id", "server_label", "summary", "fingerprint", "max_output_length",
    "pending_safety_checks", "acknowledged_safety_checks", "approve", "reason", "approval_request_id", "error",
    "output", "action", "background", "output_format", "quality", "revised_prompt", "size", "svg_usage",
}  # fmt: skip


def item_types(union):
    for kind in typing.get_args(union):
        if typing_extensions.is_typeddict(kind):
            hints = typing_extensions.get_type_hints(kind)
            (name,) = {each for each in literals(hints["type"]) if each is not None}
            yield name, set(hints)


def literals(kind):
    if typing.get_origin(kind) is typing.Literal:
        yield from typing.get_args(kind)
    for argument in typing.get_args(kind) if typing.get_origin(kind) is not typing.Literal else ():
        yield from literals(argument)


@pytest.mark.parametrize("union", [ResponseInputItemParam, BetaResponseInputItemParam])
def test_the_content_of_every_type_of_item_is_known(union):
    types = list(item_types(union))
    assert len(types) > 30
    for name, fields in types:
        assert name in CONTENT_FIELDS
        assert fields - CONTENT_FIELDS[name] <= BESIDE, name
    known = {name: set().union(*(fields for other, fields in types if other == name)) for name, _ in types}
    assert not {name for name, fields in known.items() if not CONTENT_FIELDS[name] <= fields}


class Fields:
    """All fields of some request types, each with what holds it."""

    def __init__(self, requests):
        self.all, self.free, self._seen = set(), set(), set()
        for request in requests:
            self._walk(request, "", "")

    def _walk(self, kind, holder, field):
        origin = typing.get_origin(kind)
        if origin in {dict, collections.abc.Mapping}:
            self.free.add((holder, field))
        elif origin is not None:
            for argument in typing.get_args(kind):
                self._walk(argument, holder, field)
        elif typing_extensions.is_typeddict(kind) and (kind, field) not in self._seen:
            self._seen.add((kind, field))
            for name, inner in typing_extensions.get_type_hints(kind).items():
                self.all.add((field, name))
                self._walk(inner, field, name)


@pytest.fixture(scope="module")
def fields():
    return Fields(REQUESTS)


def is_in(table, holder, field):
    return (holder, field) in table or (ANY, field) in table


def test_the_types_were_walked(fields):
    assert len(fields.all) > 150
    assert {
        ("", "previous_response_id"),
        ("input", "id"),
        ("skills", "skill_id"),
        ("tools", "connector_id"),
    } <= fields.all


def test_every_field_that_may_name_something_is_classified(fields):
    telling = {(holder, field) for holder, field in fields.all if is_id_like(field) or field in NAMED_OTHERWISE}
    assert not {each for each in telling if not is_in(REFERENCES, *each) and not is_in(HARMLESS, *each)}


def test_every_encrypted_field_is_a_reference(fields):
    assert not {each for each in fields.all if "encrypted" in each[1] and not is_in(REFERENCES, *each)}


def test_every_free_form_part_is_known_to_be_one(fields):
    assert not {each for each in fields.free if not is_in(FREE_FORM, *each)}


def test_every_address_is_one_that_the_upstream_opens_or_not(fields):
    addresses = {each for each in fields.all if is_address(each[1])}
    assert ("input_image_mask", "image_url") in addresses
    assert not {each for each in addresses if is_in(OPENED, *each) == (each in NOT_FETCHED)}


def test_nothing_else_is_called_an_address(fields):
    telling = {
        field
        for _, field in fields.all
        if any(word in field for word in ("url", "uri", "link", "host", "domain", "hook"))
    }
    others = {field for field in telling if not is_address(field)}
    assert others <= {"allowed_domains", "domain_secrets", "domain"}, "may these lead the upstream somewhere?"
