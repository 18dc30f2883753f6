"""The production shape without an engine: the image's files and commands, in the environment that compose gives them.

What stands in: PostgreSQL and Valkey on sockets of ours, a free port for the gateway, this Python for the image's.
"""

import base64
import http.client
import json
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from gateway.local.embedded import PostgresServer, ValkeyServer, database_url, redis_url, socket_folder
from gateway.local.processes import Process, Service, stop, wait_ready
from tests import image

HOST = "gateway.example.com"
PROXY, STRANGER = "127.0.0.1", "127.0.0.2"  # both of this machine; FORWARDED_ALLOW_IPS names the first
SECONDS = 60
VALUES = {
    "PUBLIC_URL": f"https://{HOST}",
    "ALLOWED_HOSTS": HOST,
    "TRUSTED_PROXIES": PROXY,
    "POSTGRES_PASSWORD": secrets.token_hex(24),
    "VALKEY_PASSWORD": secrets.token_hex(24),
    "SECRET_KEY": secrets.token_urlsafe(48),
    "KEY_PEPPERS": f"1:{secrets.token_urlsafe(48)}",
    "SEALING_KEYS": f"1:{base64.b64encode(secrets.token_bytes(32)).decode()}",
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


class Shape:
    """The containers, as processes: `run` for one that ends, `start` for one that stays."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.app = folder / "app"
        self.state = folder / "state"  # stands for /var/lib/tollgate
        self.services = image.compose(VALUES)["services"]
        with socket.create_server((PROXY, 0)) as server:
            self.port = server.getsockname()[1]
        self.app.mkdir()
        self.state.mkdir()
        image.copy_context(self.app)

    def words(self, command):
        """A command, of words or as one line, as it runs here."""
        given = shlex.split(command) if isinstance(command, str) else command
        here = {"python": sys.executable, "8000": str(self.port)}
        return [here.get(word, word).replace(":8000/", f":{self.port}/") for word in given]

    def environment(self, name):
        """All that the container sees, and nothing of ours."""
        given = image.environment() | self.services[name]["environment"]
        given |= {"PATH": str(Path(sys.executable).parent) + ":/usr/bin:/bin", "TOLLGATE_VAR": str(self.state)}
        given |= {"DATABASE_URL": database_url(self.folder), "REDIS_URL": redis_url(self.folder)}
        return given | {"HOSTNAME": socket.gethostname(), "TOLLGATE_KEY_USE_FLUSH_SECONDS": "0.1"}

    def run(self, name, command):
        return subprocess.run(
            self.words(command), cwd=self.app, env=self.environment(name), capture_output=True, text=True,
            timeout=SECONDS,
        )  # fmt: skip

    def manage(self, *words):
        done = self.run("web", ["python", "manage.py", *words])
        assert done.returncode == 0, done.stderr
        return done.stdout

    def check_health(self, name):
        """What the engine would find: the exit status of the service's health check."""
        test = image.healthcheck() if name == "web" else self.services[name]["healthcheck"]["test"]
        if test[0] == "CMD-SHELL":
            test = ["sh", "-c", test[1]]
        elif test[0] == "CMD":
            test = test[1:]
        return self.run(name, [word.replace("/var/lib/tollgate", str(self.state)) for word in test])

    @contextmanager
    def start(self, name, ready_text):
        pairs = [f"{key}={value}" for key, value in self.environment(name).items()]
        command = self.services[name].get("command", image.command())
        service = Service(
            name=name, argv=["env", "-i", *pairs, *self.words(command)], cwd=self.app,
            log=self.folder / f"{name}.log", ready_text=ready_text, stop_deadline=SECONDS,
        )  # fmt: skip
        process = Process.start(service)
        try:
            wait_ready([process])
            yield process
        finally:
            stop([process])

    def ask(self, method, path, *, source=PROXY, body=None, **headers):
        """Status, headers and text of an answer. The proxy speaks of a client of its own that came by https."""
        connection = http.client.HTTPConnection(PROXY, self.port, timeout=SECONDS, source_address=(source, 0))
        given = {"Host": HOST, "X-Forwarded-Proto": "https", "X-Forwarded-For": "10.9.9.9, 203.0.113.7", **headers}
        connection.request(method, path, body, {name: value for name, value in given.items() if value})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, answer.headers, text


@pytest.fixture(scope="module")
def shape(tmp_path_factory):
    """Built as the image is, with its tables made; nothing runs but the servers."""
    folder = tmp_path_factory.mktemp("shape")
    servers = PostgresServer(folder, durable=False), ValkeyServer(folder, durable=False)
    for server in servers:
        server.start()
    try:
        found = Shape(folder)
        collect(found.app)
        migrated = found.run("migrate", found.services["migrate"]["command"])
        assert migrated.returncode == 0, migrated.stderr
        yield found
    finally:
        for server in servers:
            server.stop()
        shutil.rmtree(socket_folder(folder), ignore_errors=True)


@pytest.fixture(scope="module")
def web(shape):
    before = files(shape.app)
    with shape.start("web", "Uvicorn running on") as process:
        yield process
    assert process.exit_code() == -signal.SIGTERM  # uvicorn ends by the signal it was sent, once all is closed
    assert files(shape.app) == before  # the container's root is read-only


def collect(app):
    line = image.collecting().replace("/opt/venv/bin/python", sys.executable)
    done = subprocess.run(
        ["env", "-i", "PATH=/usr/bin:/bin", "sh", "-c", line], cwd=app, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for folder in list(app.rglob("__pycache__")):
        shutil.rmtree(folder)


def awaited(question):
    """The first answer that is true; the last one when none was."""
    deadline = time.monotonic() + SECONDS
    while not (answer := question()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return answer


def files(folder):
    return {path for path in folder.rglob("*") if path.is_file()}


def test_the_settings_pass_djangos_check_for_deployment(shape):
    assert "no issues" in shape.manage("check", "--deploy", "--fail-level", "WARNING")


def test_the_gateway_is_healthy_and_ready(shape, web):
    assert shape.check_health("web").returncode == 0
    assert shape.ask("GET", "/healthz", **{"X-Forwarded-Proto": None})[0] == 200
    status, _, text = shape.ask("GET", "/readyz", **{"X-Forwarded-Proto": None})
    assert (status, json.loads(text)) == (200, {"database": True, "valkey": True})


def test_a_request_without_a_key_is_refused_in_openais_words(shape, web):
    status, headers, text = shape.ask("POST", "/v1/responses", body='{"model": "gpt-4.1", "input": "hi"}')
    assert (status, headers["content-type"]) == (401, "application/json")
    assert json.loads(text)["error"].keys() == {"message", "type", "param", "code"}


def test_the_admins_login_is_reached_by_https_alone(shape, web):
    status, headers, _ = shape.ask("GET", "/admin/login/", **{"X-Forwarded-Proto": "http"})
    assert (status, headers["location"]) == (301, f"https://{HOST}/admin/login/")
    status, headers, _ = shape.ask("GET", "/admin/login/")
    assert status == 200
    assert headers["strict-transport-security"].startswith("max-age=31536000")
    assert headers["set-cookie"].startswith("__Host-csrf=")
    assert "Secure" in headers["set-cookie"]


def test_static_files_have_names_with_digests_and_may_be_kept_for_ever(shape, web):
    found = re.findall(r'(?:href|src)="(/static/[^"]+)"', shape.ask("GET", "/admin/login/")[2])
    assert found
    for path in found:
        status, headers, _ = shape.ask("GET", path)
        assert (status, "immutable" in headers["cache-control"]) == (200, True), path
        assert re.search(r"\.[0-9a-f]{12}\.", path), path


def test_a_host_of_no_ones_is_refused(shape, web):
    assert shape.ask("GET", "/admin/login/", Host="evil.example.com")[0] == 400


@pytest.mark.parametrize(("source", "address"), [(PROXY, "203.0.113.7"), (STRANGER, STRANGER)])
def test_only_the_proxy_is_believed_about_a_clients_address(shape, web, source, address):
    """And of what the proxy says only the end, which it wrote itself; what stands before came from the client."""
    words = ("--organization", "acme", "--project", "website", "--name", source, "--create", "--json")
    issued = json.loads(shape.manage("issue_key", *words))
    assert shape.ask("GET", "/v1/models", source=source, Authorization=f"Bearer {issued['key']}")[0] == 200
    question = "SELECT last_used_address FROM accounts_apikey WHERE id = %s AND last_used_at IS NOT NULL"
    with psycopg.connect(database_url(shape.folder), autocommit=True) as connection:
        assert awaited(lambda: connection.execute(question, [issued["id"]]).fetchone()) == (address,)


def test_worker_and_beat_are_healthy_and_work_together(shape):
    with shape.start("worker", "ready.") as worker, shape.start("beat", "beat: Starting") as beat:
        pong = shape.check_health("worker")
        assert (pong.returncode, "pong" in pong.stdout) == (0, True), pong.stderr
        assert awaited(lambda: "billing.tasks.post_settled" in beat.output())
        assert awaited(lambda: re.search("post_settled.* succeeded", worker.output()))
        assert shape.check_health("beat").returncode == 0
        stop([beat, worker])
        assert (worker.exit_code(), beat.exit_code()) == (0, 0)
    assert shape.check_health("worker").returncode != 0
