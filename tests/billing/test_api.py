"""GET /api/v1/usage and /api/v1/key, and the schema of the whole management API."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command

from billing.books.reports import today, usage
from tests.accounts.rows import issued_key, person
from tests.billing.rows import held_record, post, settled_record, void

USAGE = "/api/v1/usage"


@pytest.fixture
def key(db):
    """A key of acme that was used twice, as one of globex was once; some of it is posted."""
    acme, globex = issued_key("acme")[0], issued_key("globex")[0]
    settled_record(acme)
    settled_record(globex)
    post()
    settled_record(acme, model="o3-pro")
    return acme


@pytest.fixture
def member(client, key):
    client.force_login(person("ann", organization="acme"))
    return client


@pytest.fixture
def staff(client, key):
    client.force_login(person("sam", is_staff=True))
    return client


def test_a_member_sees_the_usage_of_their_organization_alone(member):
    response = member.get(USAGE)
    assert response.json() == usage(user=response.wsgi_request.user)
    assert {row["organization"] for row in response.json()["rows"]} == {"acme"}
    assert response.json()["total"]["requests"] == 2
    assert response.headers["Cache-Control"] == "no-store"


def test_staff_see_all_usage(staff):
    assert staff.get(USAGE).json() == usage()
    assert staff.get(USAGE).json()["total"]["requests"] == 3


def test_another_organizations_usage_is_as_unknown_as_one_that_is_not(member):
    globex = issued_key("globex")[0].project.organization
    answers = [member.get(USAGE, {"organization": name}) for name in ("globex", str(globex.id), "nobody")]
    assert [answer.status_code for answer in answers] == [404, 404, 404]
    assert len({answer.content for answer in answers}) == 1


def test_usage_is_of_one_organization_by_name_or_id(staff, key):
    for name in ("acme", str(key.project.organization_id)):
        assert staff.get(USAGE, {"organization": name}).json()["total"]["requests"] == 2


def test_usage_is_grouped_as_asked(staff):
    rows = staff.get(USAGE, {"group_by": ["organization", "model"]}).json()["rows"]
    assert {(row["organization"], row["model"]) for row in rows} == {
        ("acme", "gpt-5"), ("acme", "o3-pro"), ("globex", "gpt-5")
    }  # fmt: skip
    assert all("project" not in row for row in rows)


def test_usage_since_a_time_leaves_out_what_was_before(staff, key):
    settled_record(key, at=today() - timedelta(days=1))
    assert staff.get(USAGE).json()["total"]["requests"] == 4
    since = today().isoformat()
    assert staff.get(USAGE, {"since": since}).json()["total"]["requests"] == 3


@pytest.mark.parametrize("query", [{"since": "yesterday"}, {"group_by": "colour"}])
def test_what_cannot_be_understood_is_refused(staff, query):
    response = staff.get(USAGE, query)
    assert response.status_code == 400
    assert response.json().keys() == query.keys()


def test_nobody_is_sent_to_a_login_page(client, key):
    response = client.get(USAGE)
    assert response.status_code == 403
    assert response.headers["Content-Type"] == "application/json"


def test_a_key_is_told_who_it_is_what_it_may_use_and_what_it_used_today(client, db):
    key, secret = issued_key("acme", allowed_models=["gpt-*"], allowed_endpoints=["responses"])
    others, _ = issued_key("acme", name="phone")
    settled_record(key)
    settled_record(others)
    post()
    settled_record(key)
    void(held_record(key))
    settled_record(key, at=today() - timedelta(hours=2))
    answer = client.get("/api/v1/key", headers={"Authorization": f"Bearer {secret}"})
    assert answer.headers["Cache-Control"] == "no-store"
    shown = answer.json()
    used = shown.pop("usage_today")
    assert shown == {
        "id": str(key.id), "name": "laptop", "hint": key.hint, "organization": "acme", "project": "website",
        "expires_at": None, "models": ["gpt-*"], "endpoints": ["responses"], "quotas": [],
    }  # fmt: skip
    assert (used["requests"], used["voided"], used["input_tokens"]) == (2, 1, 2000)
    assert used["since"] == today().isoformat().replace("+00:00", "Z")


def test_a_key_that_may_use_everything_is_told_so(client, db):
    _, secret = issued_key("acme")
    shown = client.get("/api/v1/key", headers={"Authorization": f"bearer {secret}"}).json()
    assert (shown["models"], shown["endpoints"]) == (["*"], ["*"])


def test_the_schema_has_every_endpoint_and_no_warning(client, db):
    call_command("spectacular", validate=True, fail_on_warn=True, stdout=StringIO())
    schema = client.get("/api/v1/schema", headers={"Accept": "application/json"}).json()
    assert {"/api/v1/key", "/api/v1/keys", "/api/v1/usage"} <= schema["paths"].keys()
    assert schema["paths"]["/api/v1/key"]["get"]["security"] == [{"inferenceKey": []}]
