"""schemathesis with its object-level authorization check over our own descriptions: two tenants as peers."""

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import yaml
from django.conf import settings
from django.test import Client

from accounts.models import Membership, User
from tests.tenants import UPSTREAM_KEY

DESCRIPTION = Path(__file__).parents[2] / "docs" / "openapi.yaml"
CHECKS = "object_level_authorization,not_a_server_error,ignored_auth"
# Bodies that are answered, so that there is something to be stolen; the rest of the description is as it is.
ANSWERED = {
    "type": "object",
    "required": ["model", "input"],
    "properties": {"model": {"const": "gpt-4.1"}, "input": {"enum": ["Hello", "你好"]}},
    "additionalProperties": False,
}
CONFIGURATION = """
[auth.wfc]
path = "{users}"
peers = ["acme", "globex"]
"""


@pytest.mark.slow
def test_no_tenant_gets_anothers_objects(acme, globex, gateway, tmp_path):
    description = yaml.safe_load(DESCRIPTION.read_text())
    description["components"]["schemas"]["Create"] = ANSWERED
    said = searched(description, gateway.url, [user("acme", acme), user("globex", globex)], tmp_path)
    assert "object_level_authorization` will not run" not in said
    assert UPSTREAM_KEY not in said


@pytest.mark.slow
def test_no_member_sees_anothers_keys_or_usage(acme, globex, gateway, tmp_path):
    """acme's asks for globex by name and id too. No object has an address here: what the answers hold is looked at."""
    for tenant in (acme, globex):
        assert tenant.ask("gpt-4.1").status_code == 200
    description = yaml.safe_load(httpx.get(f"{gateway.origin}/api/v1/schema").text)
    names = {
        "organization": [
            str(name) for each in (acme, globex) for name in (each.organization.name, each.organization.id)
        ],
        "project": [str(name) for each in (acme, globex) for name in (each.project.name, each.project.id)],
    }
    for path in description["paths"].values():
        for parameter in path["get"].get("parameters", ()):
            if parameter["name"] in names:
                parameter["schema"] = {"enum": names[parameter["name"]]}
    har = ("--report", "har", "--report-har-path", "all.har")
    searched(description, gateway.origin, [member("acme", acme), member("globex", globex)], tmp_path, *har)
    entries = json.loads((tmp_path / "all.har").read_text())["log"]["entries"]
    answers = [(each["request"]["url"], each["response"]["content"]["text"]) for each in entries]
    assert any(acme.key.hint in answer for _, answer in answers)
    assert any(str(globex.organization.id) in url for url, _ in answers)
    secrets = (globex.key.hint, str(globex.key.id), str(globex.project.id))
    assert not [each for each in answers if any(secret in each[1] for secret in secrets)]


def searched(description, url, users, folder, *more):
    """What schemathesis says, which found nothing."""
    (folder / "users.json").write_text(json.dumps({"auth": users}))
    (folder / "schemathesis.toml").write_text(CONFIGURATION.format(users=folder / "users.json"))
    (folder / "openapi.json").write_text(json.dumps(description, default=str))
    program = Path(sys.executable).with_name("schemathesis")
    done = subprocess.run(
        [
            program, "--config-file", "schemathesis.toml", "run", "openapi.json", "--url", url, "--checks", CHECKS,
            "--phases", "examples,coverage,stateful", "--max-examples", "20", "--seed", "4", "--no-color",
            "--generation-database", "none", *more,
        ],
        capture_output=True, text=True, timeout=110, cwd=folder,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


def user(name, tenant):
    return {"name": name, "fixedHeaders": [{"name": "Authorization", "value": f"Bearer {tenant.secret}"}]}


def member(name, tenant):
    """A key of the tenant, and the session of one of its people."""
    person = User.objects.create_user(f"member-of-{tenant.organization.name}")
    Membership.objects.create(user=person, organization=tenant.organization)
    browser = Client()
    browser.force_login(person)
    session = browser.cookies[settings.SESSION_COOKIE_NAME].value
    cookie = {"name": "Cookie", "value": f"{settings.SESSION_COOKIE_NAME}={session}"}
    return {"name": name, "fixedHeaders": [*user(name, tenant)["fixedHeaders"], cookie]}
