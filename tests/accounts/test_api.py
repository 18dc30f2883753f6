"""GET /api/v1/keys, and how an inference key authenticates."""

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts import keys
from accounts.models import Organization, Project
from tests.accounts.rows import issued_key, person

KEYS = "/api/v1/keys"
OWN_KEY = "/api/v1/key"


@pytest.fixture
def acme(db):
    return issued_key("acme")


@pytest.fixture
def globex(db):
    return issued_key("globex")


@pytest.fixture
def member(client, acme):
    client.force_login(person("ann", organization="acme"))
    return client


@pytest.fixture
def staff(client, db):
    client.force_login(person("sam", is_staff=True))
    return client


def hints(response):
    assert response.status_code == 200
    return {key["hint"] for key in response.json()["results"]}


def test_a_member_sees_the_keys_of_their_organization_alone(member, acme, globex):
    assert hints(member.get(KEYS)) == {acme[0].hint}


def test_staff_see_every_key(staff, acme, globex):
    assert hints(staff.get(KEYS)) == {acme[0].hint, globex[0].hint}


def test_who_belongs_nowhere_sees_no_key(client, acme):
    client.force_login(person("eve"))
    assert hints(client.get(KEYS)) == set()


def test_nobody_is_sent_to_a_login_page(client, acme):
    response = client.get(KEYS)
    assert response.status_code == 403
    assert response.headers["Content-Type"] == "application/json"


def test_an_inference_key_does_not_open_the_list(client, acme):
    assert client.get(KEYS, headers={"Authorization": f"Bearer {acme[1]}"}).status_code == 403


def test_a_key_is_shown_without_secret_and_digest(member, acme):
    key, secret = acme
    response = member.get(KEYS)
    (shown,) = response.json()["results"]
    assert shown.keys() == {
        "id", "name", "hint", "organization", "organization_id", "project", "project_id", "created_at", "expires_at",
        "revoked_at", "allowed_models", "allowed_endpoints", "allowed_networks", "tags", "last_used_at",
        "last_used_address", "last_used_agent",
    }  # fmt: skip
    assert (shown["id"], shown["organization"], shown["project"]) == (str(key.id), "acme", "website")
    assert secret not in response.text
    assert response.headers["Cache-Control"] == "no-store"


def test_keys_are_found_by_organization_and_project_by_name_or_id(staff, acme, globex):
    other, _ = issued_key("acme", project="batch")
    organization, project = acme[0].project.organization, acme[0].project
    assert hints(staff.get(KEYS, {"organization": "acme"})) == {acme[0].hint, other.hint}
    assert hints(staff.get(KEYS, {"organization": str(organization.id)})) == {acme[0].hint, other.hint}
    assert hints(staff.get(KEYS, {"organization": "acme", "project": "website"})) == {acme[0].hint}
    assert hints(staff.get(KEYS, {"project": str(project.id)})) == {acme[0].hint}


def test_a_filter_opens_no_other_organization(member, globex):
    for asked in ({"organization": "globex"}, {"organization": str(globex[0].project.organization_id)}):
        assert hints(member.get(KEYS, asked)) == set()


def test_a_long_list_comes_in_pages(member):
    for number in range(59):
        issued_key("acme", name=str(number))
    first = member.get(KEYS)
    second = member.get(first.json()["next"])
    assert (len(first.json()["results"]), len(second.json()["results"])) == (50, 10)
    assert not hints(first) & hints(second)
    assert second.json()["next"] is None


def ask(client, secret):
    return client.get(OWN_KEY, headers={"Authorization": f"Bearer {secret}"})


def assert_refused(response, message, code):
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert response.headers["Cache-Control"] == "no-store"
    error = response.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert message in error["message"]
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", None, code)


def test_a_request_without_a_key_is_refused(client, db):
    assert_refused(client.get(OWN_KEY), "Missing bearer", None)
    assert_refused(client.get(OWN_KEY, headers={"Authorization": "Basic YWRtaW46YWRtaW4="}), "Missing bearer", None)


def test_only_the_authorization_header_is_read(client, acme):
    _, secret = acme
    client.cookies["Authorization"] = f"Bearer {secret}"
    response = client.get(OWN_KEY, {"api_key": secret, "key": secret}, headers={"X-API-Key": secret})
    assert_refused(response, "Missing bearer", None)


def test_a_session_is_no_key(staff):
    assert_refused(staff.get(OWN_KEY), "Missing bearer", None)


def test_an_unknown_key_is_refused_and_masked(client, db):
    secret = keys.generate()
    response = ask(client, secret)
    assert_refused(response, f"{secret[:5]}***{secret[-4:]}", "invalid_api_key")
    assert secret not in response.text


def test_garbage_is_refused(client, db):
    assert_refused(ask(client, "sk-proj-1"), "Incorrect API key provided: sk***", "invalid_api_key")


def test_a_revoked_and_an_expired_key_are_told_the_same(client, acme):
    acme[0].revoke()
    expired, secret = issued_key("acme", name="old")
    type(expired).objects.filter(id=expired.id).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert_refused(ask(client, acme[1]), acme[0].hint, "invalid_api_key")
    assert_refused(ask(client, secret), expired.hint, "invalid_api_key")


@pytest.mark.parametrize("suspended", [Organization, Project])
def test_a_key_of_a_suspended_organization_or_project_is_refused(client, acme, suspended):
    suspended.objects.update(suspended_at=timezone.now())
    assert_refused(ask(client, acme[1]), "deactivated", "account_deactivated")


def test_a_key_is_refused_away_from_its_networks(client, db):
    _, secret = issued_key("acme", allowed_networks=["192.0.2.0/24"])
    assert_refused(ask(client, secret), "address", None)
    _, secret = issued_key("acme", allowed_networks=["127.0.0.0/8"])
    assert ask(client, secret).status_code == 200


def test_a_key_of_an_older_pepper_still_opens(client, acme, settings):
    settings.KEY_PEPPERS = {**settings.KEY_PEPPERS, 2: b"a newer pepper, which new keys are under"}
    assert ask(client, acme[1]).status_code == 200


def test_a_wrong_method_has_the_same_envelope(client, acme):
    response = client.post(OWN_KEY, headers={"Authorization": f"Bearer {acme[1]}"})
    assert response.status_code == 405
    assert response.json()["error"]["type"] == "invalid_request_error"
