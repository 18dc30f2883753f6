"""What a body names, and its tools, are found wherever they stand; what tenants write freely never is."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.permission import SERVERS
from gateway.wire.bound import NAMING
from gateway.wire.free_form import FREE_FORM
from gateway.wire.invalid import InvalidRequest
from gateway.wire.places import param_of
from gateway.wire.references import Kind
from gateway.wire.spelling import JUDGED, respelt
from gateway.wire.survey import MOST_REFERENCES, survey


def named(**body):
    return {(each.param, each.id, each.kind) for each in survey(body).references}


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
        ({"tools": [{"connector_id": ["x"]}]}, "tools[0].connector_id", Kind.OBJECT),
        ({"new_object_id": "x"}, "new_object_id", Kind.UNKNOWN),
        ({"input": [{"content": [{"id": "x"}]}]}, "input[0].content[0].id", Kind.UNKNOWN),
        ({"tools": [{"parameters_id": "x"}]}, "tools[0].parameters_id", Kind.UNKNOWN),
        ({"ids": ["x"]}, "ids", Kind.UNKNOWN),
        ({"tools": [{"newId": "x"}]}, "tools[0].newId", Kind.UNKNOWN), ({"new-id": "x"}, "new-id", Kind.UNKNOWN),
        ({"tools": [{"newIDs": "x"}]}, "tools[0].newIDs", Kind.UNKNOWN), ({"new_id ": "x"}, "new_id ", Kind.UNKNOWN),
    ],
)  # fmt: skip
def test_what_names_a_stored_object_is_found(body, param, kind):
    assert named(**body) == {(param, "x", kind)}


@pytest.mark.parametrize(
    "body",
    [
        {}, {"input": "resp_1"}, {"previous_response_id": None, "conversation": None, "input": None},
        {"input": ["x", None, {"type": "function_call_output", "call_id": "c", "output": '{"file_id": "f"}'}]},
        {"input": [{"type": "function_call_output", "output": [{"run_id": "r", "id": "i"}]}]},
        {"tools": [{"container": {"type": "auto"}, "vector_store_ids": []}, {"parameters": {"file_id": "c"}}]},
        {"input": [{"type": "computer_call", "pending_safety_checks": [{"id": "s", "code": "c"}]}]},
        {"input": [{"x_passthrough": {"turn_id": "t"}}], "client_metadata": {"file_id": "f"}},
        {"tools": [{"type": "mcp", "headers": {"tenant_id": "t"}}, {"connector_id": "connector_gmail"}]},
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


PARTS = ["action", "outcome", "parts", "options", "x"]
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
    body = {"x": nested({"a": 1, key: "planted", "b": []}, path)}
    assert [each.id for each in survey(body).references] == ["planted"]


@given(
    path=PATHS, free=st.sampled_from(FREE), below=PATHS,
    key=st.sampled_from(["file_id", "previous_response_id", "id", "encrypted_content", "new_ids"]),
)  # fmt: skip
def test_what_is_in_free_form_parts_is_never_found(path, free, below, key):
    holder, field = free
    body = {"x": nested({holder: [{field: nested({key: "planted"}, below)}]}, path)}
    assert not list(survey(body).references)


def test_a_long_key_is_not_kept_by_whoever_judges_what_it_holds():
    key = "k" * 100_000
    body = {key: {"a": 1}}
    before = sys.getrefcount(key)
    assert not list(survey(body).references)
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
    (found,) = survey({"input": deep}).references
    assert (found.id, found.kind) == ("planted", Kind.OBJECT)
    assert found.param.endswith(".file_id")


# Tools --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "params"),
    [
        ({"tools": [], "input": [{"tools": [1]}, {"content": [{"tools": {}}]}]},
         {"tools", "input[0].tools", "input[1].content[0].tools"}),
        ({"tools": [{"tools": [{"tools": "x"}]}]}, {"tools", "tools[0].tools", "tools[0].tools[0].tools"}),
        ({"multi_agent": {"agents": [{"tools": []}]}}, {"multi_agent.agents[0].tools"}),
        ({"tools": None, "metadata": {"tools": []}, "tool_choice": {"tools": []}}, set()),
        ({"input": [{"output": {"tools": []}}, {"arguments": {"tools": []}}]}, set()),
    ],
)  # fmt: skip
def test_tools_are_found_wherever_they_stand(body, params):
    assert {param_of(each.trail) for each in survey(body).tools} == params


# What readers may understand differently ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "param", "meant"),
    [
        ({"Model": "m"}, "Model", "model"), ({"maxOutputTokens": None}, "maxOutputTokens", "max_output_tokens"),
        ({"\u017ftore": True}, "\u017ftore", "store"), ({"too\u0131s": 1, "TOOLS": []}, "TOOLS", "tools"),
        ({"Previous_Response_ID": "x"}, "Previous_Response_ID", "previous_response_id"),
        ({"tools": [{"Type": "mcp"}]}, "tools[0].Type", "type"),
        ({"tools": [{"fileID": 1}]}, "tools[0].fileID", "file_id"),
        ({"tools": [{"type": "mcp", "serverUrl": "x"}]}, "tools[0].serverUrl", "server_url"),
        ({"input": [{"content": [{"Image_URL": "x"}]}]}, "input[0].content[0].Image_URL", "image_url"),
        ({"input": [{"x": [[{"file-id": 1}]]}]}, "input[0].x[0][0].file-id", "file_id"),
        ({"Data": "http://a"}, "Data", "data"), ({"store\0x": True}, "store\0x", "store"),
        ({"input": [{"output": [{"Image_URL": "x"}]}]}, "input[0].output[0].Image_URL", "image_url"),
        ({"\tID\u00a0": "x"}, "\tID\u00a0", "id"), ({"file_id ": "x"}, "file_id ", "file_id"),
    ],
)  # fmt: skip
def test_a_judged_field_in_other_letters_is_refused(body, param, meant):
    with pytest.raises(InvalidRequest, match=f"Did you mean '{meant}'") as refused:
        survey(body)
    assert refused.value.param == param


@given(name=st.sampled_from(sorted(JUDGED)), dice=st.randoms())
def test_whatever_the_letters(name, dice):
    spelled = "".join(dice.choice((letter, letter.upper(), f"-{letter}", letter.title())) for letter in name)
    assert respelt(spelled) == (None if spelled in JUDGED else name)


def test_what_is_judged_has_names_that_differ_in_more_than_letters():
    assert {*SERVERS, *NAMING} <= JUDGED
    assert not [name for name in JUDGED if respelt(name)]
    assert len({"".join(filter(str.isalnum, name.casefold())) for name in JUDGED}) == len(JUDGED)


@pytest.mark.parametrize("field", ["extra_body", "extra_headers", "extra_query", "__proto__"])
def test_fields_that_some_spread_over_the_rest_are_refused(field):
    with pytest.raises(InvalidRequest, match="beside it") as refused:
        survey({"model": "m", field: {"service_tier": "priority"}})
    assert refused.value.param == field
    survey({field: None, "metadata": {field: "x"}})


def test_what_a_tool_put_out_is_its_own():
    survey({"input": [{"output": [{"Name": "x", "ID": 1, "Code": 2}, {"rows": [{"content": [[1]]}]}]}]})


def test_free_form_parts_may_have_any_letters():
    survey({"metadata": {"Model": 1}, "tools": [{"parameters": {"properties": {"Type": {}, "fileId": {}}}}]})


@pytest.mark.parametrize("field", ["input", "tools", "content", "output"])
def test_a_list_where_an_object_is_read_is_refused(field):
    with pytest.raises(InvalidRequest, match="expected an object") as refused:
        survey({"x": [{field: [{}, [{"type": "input_image"}]]}]})
    assert refused.value.param == f"x[0].{field}[1]"


def test_more_than_anybody_names_is_refused():
    survey({"input": [{"file_ids": ["x"] * (MOST_REFERENCES - 1)}, {"file_id": "x"}]})
    with pytest.raises(InvalidRequest, match=f"{MOST_REFERENCES}"):
        survey({"input": [{"file_ids": ["x"] * MOST_REFERENCES}, {"file_id": "x"}]})
