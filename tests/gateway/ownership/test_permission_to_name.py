"""What may be named where, by what is known of it; no database."""

import uuid

import pytest

from accounts.authentication import KeyFacts
from gateway.addresses import Origin
from gateway.catalog import UpstreamFacts
from gateway.ownership.naming import Named, known_of
from gateway.ownership.owners import Known, NamedDigest, NamedResponse
from gateway.wire.references import Kind, digest_of
from gateway.wire.request import InvalidRequest
from gateway.wire.survey import survey

ORGANIZATION, PROJECT, FIRST, SECOND, THIRD = (uuid.uuid4() for _ in range(5))
OWN, NEAR, ANOTHERS = (0, True), (1, False), (2, False)  # scope, is_own


class Books:
    """Answers every question with what it is given."""

    def __init__(self, *known):
        self._known = Known(
            tuple(each for each in known if isinstance(each, NamedResponse)),
            tuple(each for each in known if isinstance(each, NamedDigest)),
        )

    async def named(self, question):
        return self._known


def answered(name, upstream_id, tokens=None):
    return NamedResponse(name, ORGANIZATION, PROJECT, upstream_id, uuid.uuid4(), tokens)


def issued(kind, name, upstream_id, to):
    return NamedDigest(digest_of(kind, name), upstream_id, *to)


async def naming(body, *known) -> Named:
    key = KeyFacts(uuid.uuid4(), "k", "sk", PROJECT, "p", ORGANIZATION, "o")
    return await known_of(survey(body).references, key, Books(*known))


def upstream(upstream_id, organization_id=None):
    return UpstreamFacts(upstream_id, "u", "http://u", Origin("http", "u", 80), None, organization_id)


@pytest.mark.parametrize(
    ("item", "param"),
    [
        ({"type": "reasoning", "encrypted_content": {"a": "blob"}}, "input[0].encrypted_content"),
        ({"type": "reasoning", "encrypted_content": [["blob"]]}, "input[0].encrypted_content"),
        ({"type": "message", "role": "user", "content": "x", "id": {"a": "msg_1"}}, "input[0].id"),
        ({"type": "message", "content": [{"annotations": [{"file_id": {"a": "f"}}]}]},
         "input[0].content[0].annotations[0].file_id"),
    ],
)  # fmt: skip
async def test_where_no_text_stands_something_unknown_is_named(item, param):
    named = await naming({"input": [item]})
    with pytest.raises(InvalidRequest) as refusal:
        named.check(upstream(FIRST), ())
    assert refusal.value.param == param
    named.check(upstream(FIRST, ORGANIZATION), ())  # its own upstream is its own business


@pytest.mark.parametrize("field", ["id", "encrypted_content"])
async def test_an_empty_text_names_nothing(field):
    item = {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "so"}], field: ""}
    (await naming({"input": [item]})).check(upstream(FIRST), ())


async def test_of_upstreams_that_repeat_ids_the_one_is_taken_that_has_all():
    body = {"previous_response_id": "resp_1", "input": [{"type": "item_reference", "id": "msg_1"}]}
    responses = [answered("resp_1", place, tokens) for place, tokens in ((FIRST, 1), (SECOND, 2), (THIRD, 3))]
    items = [issued(Kind.ITEM, "msg_1", place, to) for place, to in ((FIRST, NEAR), (THIRD, OWN), (SECOND, ANOTHERS))]
    named = await naming(body, *responses, *items)
    assert (named.upstream_id, named.previous_tokens) == (THIRD, 3)
    named.check(upstream(THIRD), ())


async def test_what_is_carried_goes_where_it_is_not_anothers():
    body = {"previous_response_id": "resp_1", "input": [{"type": "reasoning", "encrypted_content": "blob"}]}
    responses = [answered("resp_1", FIRST), answered("resp_1", SECOND)]
    assert (await naming(body, *responses)).upstream_id == FIRST
    named = await naming(body, *responses, issued(Kind.CONTENT, "blob", FIRST, ANOTHERS))
    assert named.upstream_id == SECOND


async def test_where_no_upstream_has_all_it_is_refused():
    body = {"previous_response_id": "resp_1", "input": [{"type": "item_reference", "id": "msg_1"}]}
    named = await naming(body, answered("resp_1", FIRST), issued(Kind.ITEM, "msg_1", SECOND, OWN))
    assert named.upstream_id in {FIRST, SECOND}
    for place in (FIRST, SECOND):
        with pytest.raises(InvalidRequest):
            named.check(upstream(place), ())


async def test_a_call_is_carried_with_a_container_that_was_given():
    call = {"type": "code_interpreter_call", "id": "ci_1", "code": "1", "container_id": "cntr_1"}
    (await naming({"input": [call]}, issued(Kind.OBJECT, "cntr_1", FIRST, OWN))).check(upstream(FIRST), ())
    with pytest.raises(InvalidRequest):
        (await naming({"input": [call]})).check(upstream(FIRST), ())
