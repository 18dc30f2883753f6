"""What tests of the books share: an organization that is in the tables, a lane, a server that can be stopped."""

import os
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import pytest
from django.conf import settings

from accounts.models import APIKey, Organization, Project
from billing.metering import connection
from billing.metering.lane import Lane
from gateway.local.embedded import PostgresServer, database_url
from tests import plane_database
from tests.billing.books import Books


@pytest.fixture
def committed_key(committed):
    """A key that other connections see."""
    organization = Organization.objects.create(name=f"acme-{uuid.uuid4().hex[:12]}")
    project = Project.objects.create(organization=organization, name="website")
    return APIKey.objects.issue(project=project, name="laptop")[0]


@pytest.fixture
def tenant_books(committed_key):
    project = committed_key.project
    books = Books(plane_database.url(), project.organization_id, project.id, committed_key.id)
    yield books
    books.close()


@pytest.fixture
async def lane(plane):
    lane = Lane(plane_database.url(), lambda record_id: None)
    lane.start()
    yield lane
    await lane.close(10)


@pytest.fixture
def quick(monkeypatch):
    """A server that hangs is given up after a third of a second."""
    monkeypatch.setattr(connection, "HANGING_SECONDS", 0.3)
    monkeypatch.setattr(connection, "RETRY_SECONDS", 0.02)


@pytest.fixture
def folder():
    """With a short path: it is for sockets."""
    with tempfile.TemporaryDirectory(prefix="tg-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def server(django_test_environment):
    """A PostgreSQL of its own with all tables, so that it can be stopped."""
    with tempfile.TemporaryDirectory(prefix="tg-", dir="/tmp") as folder:
        server = PostgresServer(Path(folder), durable=False)
        server.start()
        environment = os.environ | {"DATABASE_URL": database_url(server.var)}
        migrate = [sys.executable, "manage.py", "migrate", "--verbosity=0"]
        subprocess.run(migrate, cwd=settings.BASE_DIR, env=environment, check=True)
        yield server
        server.stop()


@pytest.fixture
def own_books(server):
    """The books of that server, empty."""
    books = Books(database_url(server.var))
    books.execute("ALTER DATABASE postgres SET synchronous_commit = on")  # what was committed stays
    books.execute("TRUNCATE billing_usagerecord, billing_hold, billing_unposted")
    yield books
    books.close()


@pytest.fixture
def tiny_disk(folder):
    """A file system of 1 MiB."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tollgate-test", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a file system can only be mounted by root")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)
