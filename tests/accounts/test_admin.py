import re
import threading
import uuid
from datetime import timedelta

import pytest
from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts import keys
from accounts.models import APIKey, Organization, Project, User
from accounts.peppers import digests
from gateway.models import Model, Route, Upstream
from tests.accounts.rows import issued_key, person

ADD = "/admin/accounts/apikey/add/"
LIST = "/admin/accounts/apikey/"


@pytest.fixture
def admin_user(db):
    """Without a password, whose hashing would take longer than the tests."""
    return User.objects.create_superuser("admin")


@pytest.fixture
def project(db):
    return Project.objects.create(organization=Organization.objects.create(name="acme"), name="website")


def filled(client, home, **fields):
    """What the browser sends: the form's own one-time id and these fields."""
    page = client.get(ADD).content.decode()
    issue_id = re.search(r'name="issue_id" value="([^"]+)"', page)[1]
    empty = {"expires_at_0": "", "expires_at_1": "", "allowed_models": "", "allowed_networks": "", "tags": ""}
    return {**empty, "project": home.pk, "name": "bot", "issue_id": issue_id, **fields}


def issued_from(project):
    """The one key of that project: other tests commit keys of their own."""
    return APIKey.objects.get(project=project)


def secrets_in(response):
    return set(keys.PATTERN.findall(response.content.decode()))


def act(client, action, *chosen, **fields):
    return client.post(LIST, {"action": action, "_selected_action": [str(key.pk) for key in chosen], **fields})


def as_staff_with(client, *permissions):
    user = person("clerk", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client.force_login(user)
    return client


def test_issuing_answers_with_the_secret_itself(admin_client, admin_user, project):
    response = admin_client.post(ADD, filled(admin_client, project, allowed_models="gpt-*, o3-pro", tags="a,b"))

    assert response.status_code == 200
    assert "no-store" in response["Cache-Control"]
    (secret,) = secrets_in(response)
    key = issued_from(project)
    assert bytes(key.digest) in digests(secret)
    assert (key.created_by, key.allowed_models, key.tags) == (admin_user, ["gpt-*", "o3-pro"], ["a", "b"])
    assert f"Bearer {secret}" in response.content.decode()
    assert f"{settings.PUBLIC_URL}/v1/responses" in response.content.decode()


def test_the_secret_is_nowhere_afterwards(admin_client, project, caplog):
    response = admin_client.post(ADD, filled(admin_client, project))
    (secret,) = secrets_in(response)
    key = issued_from(project)

    sessions = [session.get_decoded() for session in Session.objects.all()]
    logged = list(LogEntry.objects.values_list("object_repr", "change_message"))
    assert logged == [(str(key), '[{"added": {}}]')]
    assert secret not in f"{sessions} {admin_client.cookies} {response.headers} {caplog.text}"
    for page in (LIST, ADD, f"{LIST}{key.pk}/change/", f"{LIST}{key.pk}/history/", "/admin/", "/console/"):
        answer = admin_client.get(page)
        assert answer.status_code == 200
        assert secret not in answer.content.decode()


def test_a_form_sent_twice_issues_one_key_and_says_so(admin_client, project):
    form = filled(admin_client, project)
    admin_client.post(ADD, form)

    again = admin_client.post(ADD, form)

    assert issued_from(project)
    assert not secrets_in(again)
    assert "has issued its key already" in again.content.decode()


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("name", "", "required"),
        ("project", str(uuid.UUID(int=7)), "valid choice"),
        ("allowed_networks", "10.0.0.0/33", "no address or CIDR block"),
        ("allowed_endpoints", "everything", "valid choice"),
        ("issue_id", "7", "Enter a valid UUID"),
    ],
)
def test_a_form_with_a_mistake_issues_nothing(admin_client, project, field, value, why):
    response = admin_client.post(ADD, filled(admin_client, project) | {field: value})

    assert not APIKey.objects.filter(project=project).exists()
    assert not secrets_in(response)
    assert why in str(response.context["errors"])


def test_a_key_cannot_be_issued_expired(admin_client, project):
    response = admin_client.post(ADD, filled(admin_client, project, expires_at_0="2020-01-01", expires_at_1="00:00"))

    assert not APIKey.objects.filter(project=project).exists()
    assert "That is past" in response.content.decode()


@pytest.mark.parametrize(
    ("served", "allowed", "model"),
    [
        ("gpt-*", "", "gpt-4.1"),
        ("sim-text", "", "sim-text"),
        ("gpt-*", "gpt-5*,gpt-5.5", "gpt-5.5"),
        ("it's-mine", "", "it's-mine"),
    ],
)
def test_the_curl_line_names_a_model_that_the_key_may_use(admin_client, project, served, allowed, model):
    Model.objects.all().delete()  # those of other tests' catalog
    upstream = Upstream.objects.create(name="elsewhere", base_url="https://upstream.example/v1")
    Route.objects.create(model=Model.objects.create(name=served), upstream=upstream)
    Model.objects.create(name="gpt-4.1-routed-nowhere")

    response = admin_client.post(ADD, filled(admin_client, project, allowed_models=allowed))

    line = response.context["issued"] and response.content.decode()
    escaped = model.replace("'", "&#x27;&quot;&#x27;&quot;&#x27;")  # quoted for the shell, then for HTML
    assert f"&quot;model&quot;: &quot;{escaped}&quot;" in line


def test_revoking_asks_first_and_names_the_keys(admin_client, db):
    key, _ = issued_key(name="billing-bot")

    asked = act(admin_client, "revoke_keys", key)

    page = asked.content.decode()
    assert f"Revoke key {key}?" in page
    assert APIKey.objects.get(pk=key.pk).revoked_at is None


def test_revoking_revokes_what_was_chosen_and_tells_the_history(admin_client, db):
    key, other = issued_key(name="one")[0], issued_key(name="other")[0]

    act(admin_client, "revoke_keys", key, confirmed="yes")
    first = APIKey.objects.get(pk=key.pk).revoked_at
    act(admin_client, "revoke_keys", key, confirmed="yes")

    assert first is not None
    assert APIKey.objects.get(pk=key.pk).revoked_at == first
    assert APIKey.objects.get(pk=other.pk).revoked_at is None
    assert [entry.change_message for entry in LogEntry.objects.all()] == ["Revoked."]


def test_rotating_shows_the_successors_secret_and_lets_the_old_key_run_out(admin_client, admin_user, db):
    key, old_secret = issued_key(allowed_models=["gpt-*"])

    response = act(admin_client, "rotate_keys", key, confirmed="yes")

    assert "no-store" in response["Cache-Control"]
    (secret,) = secrets_in(response)
    successor = APIKey.objects.get(replaces=key)
    assert secret != old_secret
    assert bytes(successor.digest) in digests(secret)
    assert (successor.created_by, successor.allowed_models) == (admin_user, ["gpt-*"])
    ends_in = APIKey.objects.get(pk=key.pk).expires_at - timezone.now()
    grace = timedelta(hours=settings.KEY_ROTATION_GRACE_HOURS)
    assert grace - timedelta(minutes=1) < ends_in <= grace
    assert secret not in str(list(LogEntry.objects.values_list("object_repr", "change_message")))


def test_a_rotation_sent_twice_rotates_once(admin_client, db):
    key, _ = issued_key()
    act(admin_client, "rotate_keys", key, confirmed="yes")

    again = act(admin_client, "rotate_keys", key, confirmed="yes")

    assert not secrets_in(again)
    assert APIKey.objects.filter(replaces=key).count() == 1


def test_nothing_is_rotated_that_is_revoked_or_expired(admin_client, db):
    revoked, _ = issued_key(name="revoked")
    revoked.revoke()
    expired, _ = issued_key(name="expired", expires_at=timezone.now() - timedelta(seconds=1))

    response = act(admin_client, "rotate_keys", revoked, expired, confirmed="yes")

    assert not secrets_in(response)
    assert not APIKey.objects.filter(replaces__in=[revoked, expired]).exists()


def at_once(send):
    """How many secrets each of two clients of one administrator was shown, who sent the same at the same time."""
    admin = User.objects.create_superuser(f"admin {uuid.uuid4()}")
    together, shown = threading.Barrier(2), []

    def run():
        client = Client()
        client.force_login(admin)
        together.wait()
        shown.append(len(secrets_in(send(client))))
        connection.close()

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(shown)


def test_two_rotations_at_once_give_one_successor(committed):
    key, _ = issued_key(f"acme {uuid.uuid4()}")

    assert at_once(lambda client: act(client, "rotate_keys", key, confirmed="yes")) == [0, 1]
    assert APIKey.objects.filter(replaces=key).count() == 1


def test_the_same_form_sent_twice_at_once_issues_one_key(committed):
    organization = Organization.objects.create(name=f"acme {uuid.uuid4()}")
    project = Project.objects.create(organization=organization, name="website")
    form = {"project": project.pk, "name": "bot", "issue_id": uuid.uuid4()}

    assert at_once(lambda client: client.post(ADD, form)) == [0, 1]
    assert issued_from(project)


def test_staff_without_the_permission_neither_issue_nor_revoke_nor_rotate(client, project):
    key, _ = issued_key("globex")
    as_staff_with(client, "view_apikey", "view_project")

    issued = client.post(ADD, {"project": project.pk, "name": "bot", "issue_id": uuid.uuid4()})
    for action in ("revoke_keys", "rotate_keys"):
        act(client, action, key, confirmed="yes")

    assert issued.status_code == 403
    assert not APIKey.objects.filter(project=project).exists()
    key.refresh_from_db()
    assert (key.revoked_at, key.expires_at) == (None, None)


def test_members_and_strangers_do_not_get_in(client, db):
    person("ann", organization="acme")

    assert client.get(LIST).status_code == 302
    client.force_login(User.objects.get(username="ann"))
    assert client.get(LIST).status_code == 302


def test_a_key_is_never_deleted_and_never_moves_to_another_project(admin_client, project):
    key, _ = issued_key("globex")

    deleted = admin_client.post(f"{LIST}{key.pk}/delete/", {"post": "yes"})
    admin_client.post(f"{LIST}{key.pk}/change/", filled(admin_client, project, name="renamed"))

    key.refresh_from_db()
    assert deleted.status_code == 403
    assert (key.name, key.project.organization.name) == ("renamed", "globex")


def test_a_key_is_found_by_its_hint(admin_client, db):
    key, _ = issued_key(name="billing-bot")
    issued_key(name="other-bot")

    page = admin_client.get(LIST, {"q": key.hint}).content.decode()

    assert "billing-bot" in page
    assert "other-bot" not in page


@pytest.mark.parametrize(("state", "names"), [("usable", {"good", "used"}), ("ended", {"gone"}), ("unused", {"good"})])
def test_keys_are_filtered_by_state(admin_client, db, state, names):
    issued_key("tenant-of-states", name="good")
    issued_key("tenant-of-states", name="used", last_used_at=timezone.now())
    issued_key("tenant-of-states", name="gone")[0].revoke()

    listed = admin_client.get(LIST, {"state": state, "q": "tenant-of-states"}).context["cl"].result_list

    assert {key.name for key in listed} == names


def test_the_list_asks_no_more_for_more_keys(admin_client, db):
    def queries():
        with CaptureQueriesContext(connection) as captured:
            admin_client.get(LIST, {"q": "tenant"})
        return len(captured)

    issued_key("tenant")
    for_one = queries()
    for number in range(5):
        issued_key(f"tenant {number}")

    assert queries() == for_one


def test_an_organization_is_suspended_and_resumed(admin_client, db):
    key, _ = issued_key("acme")
    organization = key.project.organization
    url = reverse("admin:accounts_organization_changelist")

    admin_client.post(url, {"action": "suspend", "_selected_action": str(organization.pk)})
    organization.refresh_from_db()
    assert organization.suspended_at is not None
    assert "Suspended" in admin_client.get(LIST, {"q": key.hint}).content.decode()
    assert f"Suspended since {organization.suspended_at:%Y-%m-%d}" in admin_client.get(url).content.decode()

    admin_client.post(url, {"action": "resume", "_selected_action": str(organization.pk)})
    organization.refresh_from_db()
    assert organization.suspended_at is None


def test_a_time_zone_that_is_none_is_refused(admin_client, db):
    memberships = {"memberships-TOTAL_FORMS": 0, "memberships-INITIAL_FORMS": 0}
    form = {"name": "olympians", "time_zone": "Mars/Olympus", **memberships}

    admin_client.post("/admin/accounts/organization/add/", form)
    assert not Organization.objects.filter(name="olympians").exists()

    admin_client.post("/admin/accounts/organization/add/", form | {"time_zone": "Europe/Berlin"})
    assert Organization.objects.get(name="olympians").time_zone == "Europe/Berlin"
