"""PostgreSQL and Valkey for the tests: an early plugin (`-p tests.servers`), because settings load before conftest.

`TEST_DATABASE_URL` and `TEST_REDIS_URL` say which to use; what is not said is started privately, once for all xdist
workers, and gone afterwards. The developer's own `DATABASE_URL` and `REDIS_URL` are never used: tests flush.
"""

import base64
import contextlib
import os
import secrets
import shutil
import tempfile
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from gateway.local.embedded import PostgresServer, Server, ValkeyServer, database_url, redis_url, socket_folder
from gateway.local.processes import StartError

PREFIX = "tollgate-tests-"
OWN_SETTINGS = ("BROKER_URL", "PUBLIC_URL", "ALLOWED_HOSTS", "METRICS_TOKEN")


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config):
    """A wrapper: it comes before pytest-django, which reads the settings here."""
    sweep()
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    early_config.add_cleanup(lambda: remove(folder))
    try:
        prepare_environment(
            folder, serving=not early_config.known_args_namespace.help, add_cleanup=early_config.add_cleanup
        )
    except StartError as error:
        raise pytest.UsageError(f"{error}\nOr set TEST_DATABASE_URL and TEST_REDIS_URL.") from error
    return (yield)


def prepare_environment(folder, *, serving, add_cleanup):
    for name in [name for name in os.environ if name.startswith("TOLLGATE_") or name in OWN_SETTINGS]:
        del os.environ[name]
    if serving and "TEST_DATABASE_URL" not in os.environ:
        start(PostgresServer(folder, durable=False), add_cleanup)
    if serving and "TEST_REDIS_URL" not in os.environ:
        start(ValkeyServer(folder, durable=False), add_cleanup)
    os.environ.setdefault("TEST_DATABASE_URL", database_url(folder))
    os.environ.setdefault("TEST_REDIS_URL", redis_url(folder))
    os.environ |= {
        "DATABASE_URL": os.environ["TEST_DATABASE_URL"],
        **redis_urls(os.environ["TEST_REDIS_URL"], worker_number()),
        "TOLLGATE_ENV": "test",
        "TOLLGATE_VAR": str(folder / "var"),
        "SECRET_KEY": secrets.token_urlsafe(48),
        "KEY_PEPPERS": f"1:{secrets.token_urlsafe(48)}",
        "SEALING_KEYS": f"1:{base64.b64encode(secrets.token_bytes(32)).decode()}",
    }


def start(server: Server, add_cleanup):
    server.start()
    add_cleanup(server.stop)


def worker_number():
    """1 for xdist's gw0; 0 without xdist. Its workers inherit the TEST_ names from the process that starts them."""
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw-1").removeprefix("gw")) + 1


def redis_urls(url, number):
    """REDIS_URL and BROKER_URL with the database `number` places after the one that `url` names.

    On a Unix socket redis-py wants it as `db`, and Celery, which the settings give the same form, as `virtual_host`.
    """
    parts = urlsplit(url)
    if parts.scheme != "unix":
        database = int(parts.path.strip("/") or 0) + number
        url = parts._replace(path=f"/{database}").geturl()
        return {"REDIS_URL": url, "BROKER_URL": url}
    query = dict(parse_qsl(parts.query))
    database = int(query.pop("db", 0)) + number
    socket = f"unix://{parts.path}"
    return {
        "REDIS_URL": f"{socket}?{urlencode({**query, 'db': database})}",
        "BROKER_URL": f"{socket}?{urlencode({**query, 'virtual_host': database})}",
    }


def sweep():
    """Removes what killed runs left: nobody uses a folder whose run is gone, its servers went with it."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        owner = folder.name.removeprefix(PREFIX).partition("-")[0]
        with contextlib.suppress(FileNotFoundError):  # another run sweeps too
            if folder.stat().st_uid == os.geteuid() and not Path("/proc", owner).exists():
                remove(folder)


def remove(folder):
    shutil.rmtree(socket_folder(folder), ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
