"""What the settings refuse, and in which words."""

import base64
import os
import runpy
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

ROOT = Path(__file__).resolve().parents[2]
PRODUCTION = {
    "DATABASE_URL": "postgres://tollgate:word@database/tollgate",
    "REDIS_URL": "redis://valkey:6379/0",
    "SECRET_KEY": "not-secret-" * 5,
    "KEY_PEPPERS": "1:" + "not-secret-" * 5,
    "SEALING_KEYS": f"1:{base64.b64encode(bytes(32)).decode()}",
    "PUBLIC_URL": "https://gateway.example.com",
    "ALLOWED_HOSTS": "gateway.example.com",
}

pytestmark = pytest.mark.usefixtures("no_environment")


@pytest.fixture
def no_environment(monkeypatch):
    """What was set for the tests is not set for the settings under test."""
    for name in [name for name in os.environ if name not in {"PATH", "HOME"}]:
        monkeypatch.delenv(name)


def loaded(environment):
    """What gateway/settings.py makes of an environment, read anew."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        return runpy.run_path(str(ROOT / "gateway" / "settings.py"))


def refusal(environment):
    """The sentence that a start ends with."""
    with pytest.raises(ImproperlyConfigured) as refused:
        loaded(environment)
    return str(refused.value)


def test_production_starts_with_all_that_it_needs():
    settings = loaded(PRODUCTION)
    assert (settings["TOLLGATE_ENV"], settings["SECRET_KEY"]) == ("production", PRODUCTION["SECRET_KEY"])
    assert (settings["DEBUG"], settings["SESSION_COOKIE_SECURE"], settings["EMBEDDED"]) == (False, True, False)


@pytest.mark.parametrize("name", [*PRODUCTION])
def test_production_refuses_to_start_without(name):
    given = {key: value for key, value in PRODUCTION.items() if key != name}
    sentence = refusal(given | {"TOLLGATE_ENV": "production"})
    assert sentence.startswith(f"{name}: ")
    assert "needs it" in sentence or "set it to" in sentence


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("PUBLIC_URL", "http://gateway.example.com", "PUBLIC_URL: set it to the https://"),
        ("ALLOWED_HOSTS", "*", "ALLOWED_HOSTS: set it to the names"),
        ("ALLOWED_HOSTS", "gateway.example.com,*", "ALLOWED_HOSTS: set it to the names"),
        ("SECRET_KEY", "short", "SECRET_KEY: set it to at least 32"),
        ("KEY_PEPPERS", "1:short", "KEY_PEPPERS: each pepper needs at least 32"),
        ("KEY_PEPPERS", PRODUCTION["SECRET_KEY"], "KEY_PEPPERS: write it as 1:SECRET"),
        ("KEY_PEPPERS", f"0:{PRODUCTION['SECRET_KEY']}", "KEY_PEPPERS: write it as 1:SECRET"),
        ("KEY_PEPPERS", ",".join([PRODUCTION["KEY_PEPPERS"]] * 2), "KEY_PEPPERS: write it as 1:SECRET"),
        ("SEALING_KEYS", "1:c2hvcnQ=", "SEALING_KEYS: each key is 32 random bytes in base64"),
        ("SEALING_KEYS", "1:!", "SEALING_KEYS: each key is 32 random bytes in base64"),
        ("DATABASE_URL", "sqlite:///db", "DATABASE_URL: only PostgreSQL is supported"),
        ("REDIS_URL", "valkey:6379", "REDIS_URL: use redis://"),
        ("BROKER_URL", "amqp://rabbit", "BROKER_URL: use redis://"),
        ("TOLLGATE_ENV", "staging", "TOLLGATE_ENV is 'staging': set it to one of development, production, test."),
        ("TOLLGATE_HOLD_SECONDS", "soon", "TOLLGATE_HOLD_SECONDS is 'soon': set it to a number."),
        ("TOLLGATE_HOLD_SECONDS", "0", "TOLLGATE_HOLD_SECONDS is 0: set it to at least 0.001."),
        ("TOLLGATE_HOLD_SECONDS", "nan", "TOLLGATE_HOLD_SECONDS is nan: set it to at least"),
        ("TOLLGATE_UPSTREAM_CONNECTIONS", "-1", "TOLLGATE_UPSTREAM_CONNECTIONS is -1: set it to at least 1."),
    ],
)
def test_a_value_that_cannot_be_right_is_refused(name, value, words):
    assert refusal(PRODUCTION | {name: value}).startswith(words)


def test_a_misspelt_name_is_refused_with_the_one_that_was_meant():
    sentence = refusal(PRODUCTION | {"TOLLGATE_DRAIN_SECOND": "5"})
    assert sentence.startswith("TOLLGATE_DRAIN_SECOND is no setting of Tollgate. Did you mean TOLLGATE_DRAIN_SECONDS?")


@pytest.mark.parametrize("name", ["SECRET_KEY", "KEY_PEPPERS", "SEALING_KEYS"])
def test_a_secret_that_is_refused_is_not_repeated(name):
    assert "tell-nobody" not in refusal(PRODUCTION | {name: "tell-nobody"})


def test_bounds_and_the_level_of_logs_can_be_set():
    settings = loaded(PRODUCTION | {"TOLLGATE_LOG_LEVEL": "DEBUG", "TOLLGATE_DRAIN_SECONDS": "0.5"})
    assert (settings["LOGGING"]["root"]["level"], settings["DRAIN_SECONDS"]) == ("DEBUG", 0.5)


def test_development_makes_its_own_secrets_and_keeps_them(tmp_path):
    first, again, elsewhere = (loaded({"TOLLGATE_VAR": str(folder)}) for folder in (tmp_path, tmp_path, tmp_path / "x"))
    assert first["TOLLGATE_ENV"] == "development"
    for name in ("SECRET_KEY", "KEY_PEPPERS", "SEALING_KEYS"):
        assert first[name] == again[name] != elsewhere[name]
    folder = tmp_path / "secrets"
    assert {path.name for path in folder.iterdir()} == {"secret_key", "key_peppers", "sealing_keys"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_configured_database_means_production():
    assert refusal({"DATABASE_URL": PRODUCTION["DATABASE_URL"]}).startswith("SECRET_KEY: production needs it")


def test_a_command_that_cannot_start_says_why_and_fails():
    given = {"PATH": os.environ["PATH"], **PRODUCTION, "SECRET_KEY": "short"}
    done = subprocess.run([sys.executable, "manage.py", "check"], cwd=ROOT, env=given, capture_output=True, text=True)
    assert done.returncode != 0
    assert done.stderr.strip().endswith("SECRET_KEY: set it to at least 32 random characters.")
