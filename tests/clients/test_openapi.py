"""schemathesis with its object-level authorization check over our own description of /v1: two tenants as peers."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

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
    users = tmp_path / "users.json"
    users.write_text(json.dumps({"auth": [user("acme", acme), user("globex", globex)]}))
    configuration = tmp_path / "schemathesis.toml"
    configuration.write_text(CONFIGURATION.format(users=users))
    description = yaml.safe_load(DESCRIPTION.read_text())
    description["components"]["schemas"]["Create"] = ANSWERED
    narrowed = tmp_path / "openapi.json"
    narrowed.write_text(json.dumps(description))
    program = Path(sys.executable).with_name("schemathesis")
    done = subprocess.run(
        [
            program, "--config-file", configuration, "run", narrowed, "--url", gateway.url, "--checks", CHECKS,
            "--phases", "examples,coverage,stateful", "--max-examples", "20", "--seed", "4", "--no-color",
            "--generation-database", "none",
        ],
        capture_output=True, text=True, timeout=110, cwd=tmp_path,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "object_level_authorization` will not run" not in said
    assert UPSTREAM_KEY not in said


def user(name, tenant):
    return {"name": name, "fixedHeaders": [{"name": "Authorization", "value": f"Bearer {tenant.secret}"}]}
