"""Two organizations with two projects each, over sockets: nobody names what is another's, and hears no more of it than
of what does not exist.
"""

import json
import uuid

import httpx
import pytest
from django.db import connection

from accounts.models import APIKey, Project
from gateway.models import Issued, ResponseOwner, Upstream
from gateway.wire.references import Kind, digest_of
from tests.gateway.words import few_words
from tests.tenants import Tenant, add_model, until

OWN_MODEL = "sim-usage-77-0-0-7-0"


def sibling_of(tenant):
    """The same organization's other project."""
    project = Project.objects.create(organization=tenant.organization, name="app")
    key, secret = APIKey.objects.issue(project=project, name="bot")
    return Tenant(tenant.organization, project, key, secret, tenant.url)


@pytest.fixture
def sibling(acme):
    return sibling_of(acme)


def shared():
    return Upstream.objects.get(name="simulator").id


def names_of(response):
    return set(response.headers)


def digest_is_kept(request_id):
    return until(lambda: Issued.objects.filter(record_id=request_id).first())


@pytest.mark.parametrize("streamed", [False, True])
def test_a_response_is_its_projects_before_it_is_read_and_nobody_elses(acme, sibling, globex, streamed):
    if streamed:
        with acme.stream("sim-ok") as response:
            lines = response.iter_lines()
            first = next(lines)
            owner = ResponseOwner.objects.filter(project_id=acme.project.id).get()
            assert first
            list(lines)
        response_id = owner.response_id
    else:
        response_id = acme.ask("sim-ok").json()["id"]
        owner = ResponseOwner.objects.get(response_id=response_id)
    assert (owner.organization_id, owner.project_id) == (acme.organization.id, acme.project.id)
    assert acme.ask("sim-ok", previous_response_id=response_id).status_code != 404
    unknown = f"resp_{uuid.uuid4().hex}"
    for stranger in (sibling, globex):
        refused, never = (stranger.ask("sim-ok", previous_response_id=name) for name in (response_id, unknown))
        assert refused.status_code == never.status_code == 400
        assert refused.content == never.content.replace(unknown.encode(), response_id.encode())
        assert names_of(refused) == names_of(never)
        assert refused.json()["error"] == {
            "message": f"Previous response with id '{response_id}' not found.",
            "type": "invalid_request_error", "param": "previous_response_id", "code": "previous_response_not_found",
        }  # fmt: skip


def test_a_response_that_is_not_stored_has_no_owner_and_its_items_are_known_all_the_same(acme, globex):
    answer = acme.ask("sim-ok", store=False)
    assert not ResponseOwner.objects.filter(project_id=acme.project.id).exists()
    assert digest_is_kept(answer.headers["x-request-id"]).digests
    item = answer.json()["output"][0]
    stolen = globex.ask("sim-ok", input=[item])
    assert (stolen.status_code, stolen.json()["error"]["param"]) == (400, "input[0].id")
    assert acme.ask("sim-ok", input=[item, {"role": "user", "content": "on"}]).status_code == 200


def test_an_item_by_reference_is_its_projects_and_one_that_is_carried_its_organizations(acme, sibling, globex):
    item = acme.ask("sim-ok").json()["output"][0]
    reference = {"type": "item_reference", "id": item["id"]}
    unknown = {"type": "item_reference", "id": "msg_of_nobody"}
    for stranger in (sibling, globex):
        refused = stranger.ask("sim-ok", input=[reference])
        assert refused.status_code == 400
        nobodys = stranger.ask("sim-ok", input=[unknown])
        assert refused.content == nobodys.content.replace(b"msg_of_nobody", item["id"].encode())
    assert sibling.ask("sim-ok", input=[item]).status_code == 200
    assert globex.ask("sim-ok", input=[item]).status_code == 400
    made_by_a_client = {"type": "message", "role": "user", "id": "msg_my_own", "content": "hello"}
    assert globex.ask("sim-ok", input=[made_by_a_client]).status_code == 200


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt_cache_options": {"comparison_response_id": "resp_x"}}, "prompt_cache_options.comparison_response_id"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt.id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]}, "tools[0].vector_store_ids"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
         "input[0].content[0].file_id"),
        ({"some_new_object_id": "x"}, "some_new_object_id"),
    ],
)  # fmt: skip
def test_what_cannot_be_told_to_be_the_tenants_is_refused_on_a_shared_upstream(acme, fields, param):
    refused = acme.post({"model": "sim-ok", "input": "x", **fields})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)


def test_a_container_that_an_answer_gave_away_is_its_projects(acme, sibling, globex):
    with connection.cursor() as cursor:  # as a code interpreter's answer leaves it
        cursor.execute(
            "INSERT INTO gateway_issued VALUES (%s, %s, %s, %s, %s)",
            [uuid.uuid4(), acme.organization.id, acme.project.id, shared(), [digest_of(Kind.OBJECT, "cntr_acme")]],
        )
    call = {
        "type": "code_interpreter_call",
        "id": "ci_1",
        "code": "1",
        "container_id": "cntr_acme",
        "status": "completed",
    }
    asked = [call, {"role": "user", "content": "go on"}]
    assert acme.ask("sim-ok", input=asked).status_code == 200
    for stranger in (sibling, globex):
        refused = stranger.ask("sim-ok", input=asked)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "input[0].container_id")


@pytest.fixture
def dedicated(acme, upstream):
    """An upstream of acme's alone, and a model that only it serves."""
    own = Upstream.objects.create(
        name=f"own-{uuid.uuid4().hex[:8]}", base_url=upstream.url, allow_private=True, organization=acme.organization,
        namespace_prompt_cache=True,
    )  # fmt: skip
    own.seal_key("sk-own")
    own.save()
    model = add_model(OWN_MODEL, own)
    yield own
    model.delete()
    own.delete()


def test_an_upstream_of_one_organization_is_nobody_elses_and_takes_its_stored_objects(acme, globex, dedicated):
    until(lambda: acme.ask(OWN_MODEL).is_success and acme.records()[-1].upstream_id == dedicated.id)
    fields = {"prompt": {"id": "pmpt_1"}, "some_new_object_id": "x"}
    assert acme.ask(OWN_MODEL, **fields).is_success
    foreign = globex.ask(OWN_MODEL)  # by the pattern that is served for all
    assert globex.record(foreign.headers["x-request-id"]).upstream_id != dedicated.id


def test_a_prompt_cache_key_goes_up_as_the_organizations_own_and_comes_back_as_it_was(acme, dedicated, upstream):
    until(lambda: acme.ask(OWN_MODEL).is_success and acme.records()[-1].upstream_id == dedicated.id)
    for key in (None, "mine", "k" * 64, 'qu"ote \\ ü'):
        asked = {} if key is None else {"prompt_cache_key": key}
        with acme.stream(OWN_MODEL, **asked) as response:
            events = [json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data: {")]
        sent = upstream.sent(response.headers["x-request-id"])
        told = [event["response"]["prompt_cache_key"] for event in events if "response" in event]
        assert told
        assert set(told) == {key}
        assert b'"prompt_cache_key":"tg' in sent.replace(b": ", b":")


@pytest.fixture
def obedient(acme):
    """An upstream of acme's alone that answers as acme wishes, and a model that only it serves."""
    with few_words(f"obedient-{uuid.uuid4().hex[:8]}") as (server, upstream):
        upstream.organization = acme.organization
        upstream.save()
        model = add_model("obedient-1", upstream)
        yield server
        model.delete()


def test_what_an_upstream_of_ones_own_calls_ones_own_is_not_so_at_another(acme, globex, sibling, obedient):
    """It answers with the ids of what others have at the shared one."""
    theirs = globex.ask("sim-reasoning", include=["reasoning.encrypted_content"], store=True).json()
    items = [*theirs["output"], {"type": "code_interpreter_call", "id": "ci_x", "container_id": "cntr_of_globex"}]
    usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
    answer = {"id": theirs["id"], "object": "response", "status": "completed", "output": items, "usage": usage}
    headers = {"Content-Type": "application/json"}
    obedient.answers["/responses"] = (200, headers, [json.dumps(answer).encode()])
    obedient.answers[f"/responses/{theirs['id']}"] = (200, headers, [b'{"id": "of the obedient one"}'])
    given = until(lambda: (said := acme.ask("obedient-1")).is_success and said)
    assert given.json()["id"] == theirs["id"], "that it exists elsewhere is nobody's business"
    reasoning = next(item for item in items if item["type"] == "reasoning")
    assert reasoning["encrypted_content"]
    references = [{"type": "item_reference", "id": item["id"]} for item in items]
    named = [
        {"previous_response_id": theirs["id"]}, *({"input": [each]} for each in references),
        {"input": [reasoning]}, {"input": [{**reasoning, "id": "rs_made_up"}]},
        {"tools": [{"type": "code_interpreter", "container": "cntr_of_globex"}]},
    ]  # fmt: skip
    for fields in named:
        assert acme.post({"model": "sim-ok", "input": "x", **fields}).status_code == 400, fields
        assert acme.post({"model": "obedient-1", "input": "x", **fields}).status_code == 200, fields
    path = f"{acme.url}/responses/{theirs['id']}"
    mine, original = (httpx.get(path, headers=tenant.headers).json() for tenant in (acme, globex))
    assert mine == {"id": "of the obedient one"}
    assert original["output"][-1] == theirs["output"][-1]


def test_a_junk_key_makes_no_reference_a_carried_item(acme, sibling, globex):
    item = next(i for i in acme.ask("sim-reasoning").json()["output"] if i["type"] == "reasoning")
    for junk in ({"x": 1}, {"arguments": "{}"}, {"summary": [{"type": "summary_text", "text": "t"}]}):
        named = {"type": "reasoning", "id": item["id"], "summary": [], **junk}
        for stranger in (sibling, globex):
            refused = stranger.ask("sim-ok", input=[named])
            assert (refused.status_code, refused.json()["error"]["param"]) == (400, "input[0].id"), junk
        assert acme.ask("sim-ok", input=[named, {"role": "user", "content": "on"}]).status_code == 200


def test_what_an_answer_cites_is_refused_to_whom_it_was_not_given(acme, sibling, globex):
    with connection.cursor() as cursor:
        digests = [digest_of(Kind.OBJECT, name) for name in ("cntr_cited", "file_cited")]
        cursor.execute(
            "INSERT INTO gateway_issued VALUES (%s, %s, %s, %s, %s)",
            [uuid.uuid4(), acme.organization.id, acme.project.id, shared(), digests],
        )
    note = {
        "type": "container_file_citation",
        "file_id": "file_cited",
        "start_index": 0,
        "end_index": 1,
        "filename": "f",
    }
    said = {"type": "output_text", "text": "t", "annotations": [note]}
    in_container = {**said, "annotations": [{"container_id": "cntr_cited"}]}
    bodies = [
        [{"type": "message", "role": "assistant", "content": [said]}],
        [{"type": "message", "role": "assistant", "content": [in_container]}],
        [{"type": "file_search_call", "id": "fs_1", "queries": ["q"], "results": [{"file_id": "file_cited"}]}],
    ]  # fmt: skip
    for items in bodies:
        asked = [*items, {"role": "user", "content": "go on"}]
        assert [one.ask("sim-ok", input=asked).status_code for one in (acme, sibling, globex)] == [200, 200, 400]
