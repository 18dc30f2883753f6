"""What a gateway process does beside its requests: it shows that it lives, and releases what it knows nothing of."""

import uuid

import pytest

from billing.models import Process
from billing.spool.folder import process_folders
from tests import plane_database
from tests.billing.books import Books
from tests.gateway_process import GatewayProcess
from tests.tenants import Tenant, until

pytestmark = pytest.mark.slow


@pytest.fixture
def own_gateway(catalog, committed, tmp_path):
    """A process with a spool folder of its own, quick in all it does beside."""
    bounds = {
        "SPOOL_DIR": str(tmp_path / "spool"),
        "TOLLGATE_HEARTBEAT_SECONDS": "0.2",
        "TOLLGATE_AUDIT_SECONDS": "0.5",
    }
    with GatewayProcess(tmp_path, **bounds) as process:
        yield process


@pytest.fixture
def row(own_gateway, tmp_path):
    """Reads the process's row."""
    (folder,) = process_folders(tmp_path / "spool")
    until(lambda: Process.objects.filter(id=folder.name).exists())
    return lambda: Process.objects.get(id=folder.name)


def test_a_process_shows_that_it_lives_until_it_stops(own_gateway, row, tmp_path):
    first = row()
    assert str(first.host_id) == (tmp_path / "spool" / "host").read_text().strip()
    assert first.stopped_at is None
    until(lambda: row().heartbeat_at > first.heartbeat_at)
    own_gateway.terminate()
    until(lambda: row().stopped_at is not None)
    until(lambda: own_gateway.process.exit_code() is not None)
    assert process_folders(tmp_path / "spool") == []


def test_a_process_that_is_killed_is_stopped_by_whoever_replays_its_spool(own_gateway, row, tmp_path):
    own_gateway.kill()
    until(lambda: own_gateway.process.exit_code() is not None)
    assert row().stopped_at is None
    with GatewayProcess(tmp_path / "next", SPOOL_DIR=str(tmp_path / "spool")):
        until(lambda: row().stopped_at is not None)
        until(lambda: len(process_folders(tmp_path / "spool")) == 1)


@pytest.fixture
def tenant(own_gateway):
    return Tenant.make("ghost", own_gateway.url)


@pytest.fixture
def books(tenant):
    books = Books(plane_database.url(), tenant.organization.id, tenant.project.id, tenant.key.id)
    yield books
    books.clear()
    books.close()


def test_what_is_open_in_the_database_and_not_in_its_process_is_voided_with_an_alarm(
    own_gateway, row, tenant, books, upstream
):
    ghost, foreign = books.hold(process_id=row().id), books.hold(process_id=uuid.uuid4())
    with tenant.stream("sim-hold-0-8") as open_one:
        lines = open_one.iter_lines()
        next(lines)
        books.write([ghost, foreign])
        record = tenant.record(ghost.id)
        assert (record.state, record.flags) == ("void", ["undispatched"])
        assert f"record {ghost.id} is open in the database and not here" in own_gateway.log
        assert open_one.headers["x-request-id"] not in own_gateway.log
        assert books.open(foreign)
        upstream.release()
        assert any('"response.completed"' in line for line in lines)
    assert tenant.record(open_one.headers["x-request-id"]).usage_source == "reported"
