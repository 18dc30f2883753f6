"""The official openai SDK for Node, where node is: one process tells all stories, each is looked at here."""

import fcntl
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import plane_database
from tests.clients.test_broken_streams import AT, WAYS
from tests.quotas import set_quota
from tests.tenants import Tenant

FOLDER = Path(__file__).parent / "node"
UNREACHABLE = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH", "ERR_SOCKET_TIMEOUT")
BROKEN = {f"{way}-{at}": f"sim-ok.{way}-{at}" for way in WAYS for at in AT}
PLACES = ["simulator", "gateway"]


@pytest.fixture(scope="session")
def node():
    """The path of node, with the SDK installed beside the script. Other workers wait for the first to do it."""
    found, npm = shutil.which("node"), shutil.which("npm")
    if found is None or npm is None:
        pytest.skip("node and npm are not on the PATH")
    lock = (FOLDER / "package-lock.json").read_text()
    installed = FOLDER / "node_modules" / "installed-by"
    with (FOLDER / "package.json").open() as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not installed.exists() or installed.read_text() != lock:
            install(npm)
            installed.write_text(lock)
    return found


def install(npm):
    quick = ["--fetch-retries=1", "--fetch-timeout=30000", "--no-audit", "--no-fund"]
    done = subprocess.run([npm, "ci", *quick], cwd=FOLDER, capture_output=True, text=True, timeout=100)
    code = next((code for code in UNREACHABLE if code in done.stderr), None)
    if code:
        pytest.skip(f"npm cannot reach its registry: {code}")
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def told(node, gateway, upstream, django_db_blocker):
    """What became of each story at each place: name -> {value | error, requests}."""
    with plane_database.connected(django_db_blocker):
        tenant, poor = Tenant.make("node", gateway.url), Tenant.make("poor", gateway.url)
        set_quota("cost", 0, organization=poor.organization)
    places = {
        "simulator": {"url": upstream.url, "key": "sk-node"},
        "gateway": {"url": tenant.url, "key": tenant.secret},
        "out of quota": {"url": poor.url, "key": poor.secret, "only": ["plain"]},
    }
    asked = json.dumps({"places": places, "broken": BROKEN})
    done = subprocess.run([node, "client.mjs", asked], cwd=FOLDER, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(params=PLACES)
def stories(request, told):
    return told[request.param]


STORIES = {
    "streamed": {"text": "You said: 你好啊", "last": "response.completed"},
    "helper": {"text": "You said: Hello", "status": "completed"},
    "tools": {"name": "get_weather", "text": "The tool said: 21 degrees"},
    "streamedTools": {"text": "The tool said: fog"},
    "stored": {"shown": True, "text": "You said: Hello", "items": 1, "gone": 404},
    "counted": {"tokens": 3},
    "compacted": {"text": "You said: Go on"},
    "models": {"listed": True, "shown": "gpt-4.1"},
    "beta": {"text": "You said: Hello", "shown": True},
}


@pytest.mark.parametrize("name", STORIES)
def test_a_story_ends_well(stories, name):
    assert stories[name].get("value") == STORIES[name], stories[name]


def test_a_plain_answer_is_read_whole(stories):
    value = stories["plain"]["value"]
    assert (value["text"], value["request"]) == ("You said: 你好啊", True)
    assert value["tokens"] > 0


ERRORS = {
    "unknownModel": ("NotFoundError", 404, "model_not_found"),
    "unknownResponse": ("NotFoundError", 404, None),
    "badParameter": ("BadRequestError", 400, "decimal_below_min_value"),
    "cancelled": ("BadRequestError", 400, None),
}


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_has_its_class_and_is_one_request(stories, name):
    error = stories[name]["error"]
    assert (error["name"], error["status"], error["code"]) == ERRORS[name]
    assert stories[name]["requests"] == (2 if name == "cancelled" else 1)


def test_a_wrong_key_is_one_request(told):
    story = told["gateway"]["wrongKey"]
    assert (story["error"]["name"], story["requests"]) == ("AuthenticationError", 1)


def test_out_of_quota_is_one_request(told):
    story = told["out of quota"]["plain"]
    error = story["error"]
    assert (error["name"], error["status"], error["code"]) == ("RateLimitError", 429, "insufficient_quota")
    assert story["requests"] == 1


@pytest.mark.parametrize("name", ["overloaded", "failing"])
def test_what_may_pass_is_asked_for_again(stories, name):
    assert stories[name]["requests"] == 3


def test_an_overloaded_upstream_is_503_here(told):
    error = told["gateway"]["overloaded"]["error"]
    assert (error["name"], error["status"], error["code"]) == ("InternalServerError", 503, "slow_down")


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_stream_is_a_failure(told, name):
    read = told["gateway"][f"read {name}"]["value"]
    assert "response.completed" not in read["kinds"]
    assert "error" in read or read["kinds"][-1] == "response.failed", read
    assert told["gateway"][f"helped {name}"].get("value", {}).get("status") != "completed"
