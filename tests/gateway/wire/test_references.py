"""What a body names is found wherever it stands, and what tenants write freely never is."""

import sys
from base64 import b64encode
from string import ascii_lowercase, ascii_uppercase, digits

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.references import (
    FREE_FORM,
    HARMLESS,
    REFERENCES,
    Kind,
    digest_of,
    is_id_like,
    issued_in,
    references_of,
)

BASE64 = ascii_uppercase + ascii_lowercase + digits + "+/"
URL_SAFE = str.maketrans("+/", "-_")


def named(**body):
    return {(each.param, each.id, each.kind) for each in references_of(body)}


@pytest.mark.parametrize(
    ("body", "param", "kind"),
    [
        ({"previous_response_id": "x"}, "previous_response_id", Kind.RESPONSE),
        ({"prompt_cache_options": {"comparison_response_id": "x"}}, "prompt_cache_options.comparison_response_id",
         Kind.RESPONSE),
        ({"conversation": "x"}, "conversation", Kind.OBJECT),
        ({"conversation": {"id": "x"}}, "conversation.id", Kind.OBJECT),
        ({"prompt": {"id": "x", "variables": {"file_id": "f"}}}, "prompt.id", Kind.OBJECT),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].id", Kind.ITEM),
        ({"input": [{"id": "x"}]}, "input[0].id", Kind.ITEM),
        ({"input": [{"id": "x", "type": "item_reference", "content": "of a liar"}]}, "input[0].id", Kind.ITEM),
        ({"input": [{"id": "x", "type": "image_generation_call", "status": "completed", "result": None}]},
         "input[0].id", Kind.ITEM),
        ({"input": [{"id": "x", "type": "reasoning", "summary": []}]}, "input[0].id", Kind.ITEM),
        ({"input": [{"id": "x", "type": "message", "role": "user", "content": ""}]}, "input[0].id", Kind.ITEM),
        ({"input": [{"id": "x", "type": "message", "content": "by a client"}]}, "input[0].id", Kind.CARRIED),
        ({"input": [{"id": "x", "role": "user", "content": "by a client"}]}, "input[0].id", Kind.CARRIED),
        ({"input": [{"id": "x", "content": "whose?"}]}, "input[0].id", Kind.ITEM),
        ({"input": [{"id": "x", "type": None, "role": "user", "content": "a type that is null"}]}, "input[0].id",
         Kind.ITEM),
        ({"input": [{"id": "x", "type": "reasoning", "summary": [], "x": 1}]}, "input[0].id", Kind.ITEM),
        ({"input": [{"id": "x", "type": "reasoning", "summary": [{"type": "summary_text", "text": "a"}]}]},
         "input[0].id", Kind.ITEM),
        ({"input": [{"id": "x", "type": "reasoning", "summary": [], "arguments": "of another type"}]}, "input[0].id",
         Kind.ITEM),
        ({"input": [{"id": "x", "type": "item_of_next_month", "content": "y"}]}, "input[0].id", Kind.ITEM),
        ({"input": [{"id": "x", "type": ["message"], "content": "y"}]}, "input[0].id", Kind.ITEM),
        ({"input": [{"id": "x", "type": "function_call_output", "call_id": "c", "output": ""}]}, "input[0].id",
         Kind.CARRIED),
        ({"input": [{"type": "mcp_approval_response", "approval_request_id": "x", "approve": True}]},
         "input[0].approval_request_id", Kind.CARRIED),
        ({"input": [{"type": "reasoning", "encrypted_content": "x"}]}, "input[0].encrypted_content", Kind.CONTENT),
        ({"input": [{"content": [{}, {"file_id": "x"}]}]}, "input[0].content[1].file_id", Kind.OBJECT),
        ({"input": [{"output": {"file_id": "x"}}]}, "input[0].output.file_id", Kind.OBJECT),
        ({"input": [{"output": [{"file_id": "x"}]}]}, "input[0].output[0].file_id", Kind.OBJECT),
        ({"input": [{"container_id": "x"}]}, "input[0].container_id", Kind.OBJECT),
        ({"input": [{"content": [{"annotations": [{"file_id": "x"}]}]}]},
         "input[0].content[0].annotations[0].file_id", Kind.CITED),
        ({"input": [{"content": [{"annotations": [{"container_id": "x"}]}]}]},
         "input[0].content[0].annotations[0].container_id", Kind.CITED),
        ({"input": [{"type": "file_search_call", "results": [{"file_id": "x"}]}]}, "input[0].results[0].file_id",
         Kind.CITED),
        ({"tools": [{}, {"vector_store_ids": ["x"]}]}, "tools[1].vector_store_ids", Kind.OBJECT),
        ({"tools": [{"container": "x"}]}, "tools[0].container", Kind.OBJECT),
        ({"tools": [{"container": {"file_ids": ["x"]}}]}, "tools[0].container.file_ids", Kind.OBJECT),
        ({"tools": [{"environment": {"container_id": "x"}}]}, "tools[0].environment.container_id", Kind.OBJECT),
        ({"tools": [{"environment": {"skills": [{"skill_id": "x"}]}}]}, "tools[0].environment.skills[0].skill_id",
         Kind.OBJECT),
        ({"tools": [{"input_image_mask": {"file_id": "x"}}]}, "tools[0].input_image_mask.file_id", Kind.OBJECT),
        ({"tools": [{"connector_id": "x"}]}, "tools[0].connector_id", Kind.OBJECT),
        ({"new_object_id": "x"}, "new_object_id", Kind.UNKNOWN),
        ({"Previous_Response_ID": "x"}, "Previous_Response_ID", Kind.UNKNOWN),
        ({"input": [{"content": [{"id": "x"}]}]}, "input[0].content[0].id", Kind.UNKNOWN),
        ({"tools": [{"parameters_id": "x"}]}, "tools[0].parameters_id", Kind.UNKNOWN),
        ({"ids": ["x"]}, "ids", Kind.UNKNOWN),
        ({"tools": [{"fileId": "x"}]}, "tools[0].fileId", Kind.UNKNOWN),
        ({"tools": [{"vectorStoreIds": ["x"]}]}, "tools[0].vectorStoreIds", Kind.UNKNOWN),
        ({"tools": [{"fileID": "x"}]}, "tools[0].fileID", Kind.UNKNOWN),
        ({"file_id ": "x"}, "file_id ", Kind.UNKNOWN),
        ({"\tID\u00a0": "x"}, "\tID\u00a0", Kind.UNKNOWN),
        ({"file-id": "x"}, "file-id", Kind.UNKNOWN),
    ],
)  # fmt: skip
def test_what_names_a_stored_object_is_found(body, param, kind):
    assert named(**body) == {(param, "x", kind)}


@pytest.mark.parametrize(
    "body",
    [
        {}, {"input": "resp_1"}, {"previous_response_id": None, "conversation": None, "input": None},
        {"input": ["x", None, [1], {"type": "function_call_output", "call_id": "c", "output": '{"file_id": "f"}'}]},
        {"input": [{"type": "function_call_output", "output": [{"run_id": "r", "id": "i"}]}]},
        {"tools": [{"container": {"type": "auto"}, "vector_store_ids": []}, "x", {"parameters": {"file_id": "c"}}]},
        {"input": [{"type": "computer_call", "pending_safety_checks": [{"id": "s", "code": "c"}]}]},
        {"input": [{"x_passthrough": {"turn_id": "t"}}], "client_metadata": {"file_id": "f"}},
        {"tools": [{"type": "mcp", "headers": {"tenant_id": "t"}}]},
        {"valid": "v", "paid": True, "grid": "g", "void": "v", "idle": "i", "x_identity": "y", "android": "z"},
    ],
)  # fmt: skip
def test_what_names_none_is_let_through(body):
    assert named(**body) == set()


def test_an_id_that_is_no_text_is_a_reference_that_nobody_owns():
    wrong = {"previous_response_id": {"id": "resp_1"}, "input": [{"file_id": [["file_1"]]}, {"file_id": 7}]}
    assert {("previous_response_id", ""), ("input[0].file_id", ""), ("input[1].file_id", "7")} <= {
        (param, name) for param, name, _ in named(**wrong)
    }


PARTS = ["content", "action", "outcome", "parts", "options", "x"]
FREE = [*sorted((holder or "anything", key) for holder, key in FREE_FORM), ("x", "any_passthrough")]


def nested(value, path):
    """`value` in objects and lists: text is a key, a number how many lists are around."""
    for step in reversed(path):
        value = {step: value} if isinstance(step, str) else [{}, [value], 1]
    return value


PATHS = st.lists(st.sampled_from([*PARTS, 0]), max_size=40)


@given(
    path=PATHS, key=st.sampled_from(["file_id", "container_id", "encrypted_content", "some_new_id", "vector_store_ids"])
)
def test_a_reference_is_found_however_deep_it_lies(path, key):
    body = {"input": nested({"a": 1, key: "planted", "b": []}, path)}
    assert [each.id for each in references_of(body)] == ["planted"]


@given(
    path=PATHS, free=st.sampled_from(FREE), below=PATHS,
    key=st.sampled_from(["file_id", "previous_response_id", "id", "encrypted_content", "new_ids"]),
)  # fmt: skip
def test_what_is_in_free_form_parts_is_never_found(path, free, below, key):
    holder, field = free
    body = {"input": nested({holder: [{field: nested({key: "planted"}, below)}]}, path)}
    assert not list(references_of(body))


def test_a_long_key_is_judged_in_a_time_that_goes_with_its_length():
    assert not is_id_like("id " * 300_000 + "x")
    assert is_id_like("x" * 300_000 + "_id" + " " * 300_000)


def test_a_long_key_is_not_kept_by_whoever_judges_what_it_holds():
    key = "k" * 100_000
    body = {key: {"a": 1}}
    before = sys.getrefcount(key)
    assert not list(references_of(body))
    assert sys.getrefcount(key) == before


@pytest.mark.parametrize("item", [{"output": ""}, {"output": "", "status": "completed"}])
def test_the_silence_of_a_clients_shell_is_its_content(item):
    """Its id is the call's, which no answer gives away as an item's."""
    item = {"type": "local_shell_call_output", "id": "call_1", **item}
    assert named(input=[item]) == {("input[0].id", "call_1", Kind.CARRIED)}
    del item["output"]
    assert named(input=[item]) == {("input[0].id", "call_1", Kind.ITEM)}


def test_a_body_nested_beyond_all_measure_is_gone_through():
    deep = {"file_id": "planted"}
    for _ in range(2_000):
        deep = {"content" * 1000: [deep]}
    (found,) = references_of({"input": deep})
    assert (found.id, found.kind) == ("planted", Kind.OBJECT)
    assert found.param.endswith(".file_id")


def test_no_field_is_in_two_tables():
    assert not set(REFERENCES) & HARMLESS
    assert not set(REFERENCES) & FREE_FORM


def test_what_an_answer_gives_away_is_known_again():
    output = [
        {"type": "reasoning", "id": "rs_1", "encrypted_content": "secret"},
        {"type": "code_interpreter_call", "id": "ci_1", "container_id": "cntr_1", "code": "file_id='f'"},
        {"type": "shell_call", "id": "sh_1", "environment": {"type": "container_reference", "container_id": "cntr_2"}},
        {"type": "message", "id": "msg_1", "content": [
            {"text": "file_id", "annotations": [{"file_id": "cfile_1", "container_id": "cntr_1"}]}]},
        {"type": "file_search_call", "id": "fs_1", "results": [{"file_id": "file_1", "text": "file_2"}, None]},
        {"type": "mcp_list_tools", "id": "mcpl_1", "tools": [{"annotations": {"file_id": "file_of_another"}}]},
        None, 7, "x", {"id": 5},
    ]  # fmt: skip
    assert set(issued_in(output)) == {
        (Kind.ITEM, "rs_1"), (Kind.ITEM, "ci_1"), (Kind.ITEM, "sh_1"), (Kind.ITEM, "msg_1"), (Kind.ITEM, "mcpl_1"),
        (Kind.ITEM, "fs_1"), (Kind.OBJECT, "file_1"),
        (Kind.CONTENT, "secret"), (Kind.OBJECT, "cntr_1"), (Kind.OBJECT, "cntr_2"), (Kind.OBJECT, "cfile_1"),
    }  # fmt: skip
    assert not [*issued_in(None), *issued_in("x")]
    assert digest_of(Kind.CITED, "file_1") == digest_of(Kind.OBJECT, "file_1")
    assert digest_of(Kind.CARRIED, "rs_1") == digest_of(Kind.ITEM, "rs_1") != digest_of(Kind.OBJECT, "rs_1")


@given(content=st.binary(min_size=1), breaks=st.lists(st.tuples(st.integers(0), st.sampled_from("\n =.\t\0é"))))
def test_encrypted_content_is_known_in_whichever_spelling(content, breaks):
    text = b64encode(content).decode()
    unused = {0: 1, 1: 16, 2: 4}[len(content) % 3]  # so many last letters mean the same
    bare = text.rstrip("=")
    last = BASE64[BASE64.index(bare[-1]) + unused - 1]
    spelled = bare[:-1] + last
    for at, junk in breaks:
        spelled = spelled[: at % (len(spelled) + 1)] + junk + spelled[at % (len(spelled) + 1) :]
    digest = digest_of(Kind.CONTENT, text)
    assert {digest_of(Kind.CONTENT, s) for s in (bare, spelled, spelled.translate(URL_SAFE))} == {digest}
    assert digest_of(Kind.CONTENT, b64encode(content + b"x").decode()) != digest


def test_encrypted_content_that_is_no_base64_is_known_as_it_is_written():
    spelled = ["", "=", "你", "好", "B", "\ud800", "QQ"]
    assert len({digest_of(Kind.CONTENT, each) for each in spelled}) == len(spelled)


def test_a_name_is_no_content():
    assert digest_of(Kind.ITEM, "rs_1") != digest_of(Kind.ITEM, "rs-1")
    assert digest_of(Kind.OBJECT, "QQ") != digest_of(Kind.OBJECT, "QQ==")
