"""docs/settings.md and gateway/settings.py name the same variables, with the same defaults."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| `([A-Z_]+)` \| (.*?) \| ", re.MULTILINE)
ASK = """
import json
from gateway.environment import Environment
text, defaults = Environment.text, {}
def noted(self, name, default):
    defaults[name] = default
    return text(self, name, default)
Environment.text = noted
from gateway.settings import env
print(json.dumps({name: defaults.get(name, "") for name in env._known}))
"""


@pytest.fixture(scope="module")
def read():
    """Each variable that the settings read, with its default."""
    done = subprocess.run([sys.executable, "-c", ASK], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def table():
    first = (ROOT / "docs" / "settings.md").read_text().partition("\n## ")[0]
    return dict(ROW.findall(first))


def test_every_variable_that_is_read_is_in_the_table_and_no_other(read, table):
    assert set(table) == set(read)


def test_defaults_are_those_of_the_table(read, table):
    plain = {name: default for name, default in read.items() if default}
    assert plain
    for name, default in plain.items():
        said = re.sub(r"^/.*/var/(\w+)$", r"\1/` in `TOLLGATE_VAR", default)
        assert table[name] == f"`{said}`", name
