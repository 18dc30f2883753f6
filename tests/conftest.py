"""What tests of the data plane share: a gateway process, an upstream, two tenants.

The gateway is another process, so these tests commit, in a database of their own: each makes its own organizations.
"""

import os

import pytest

from tests import plane_database
from tests.billing.books import Books, running_meter
from tests.gateway_process import GatewayProcess
from tests.tenants import Tenant, fill_catalog
from tests.upstream import UpstreamThread


@pytest.fixture(scope="session")
def plane(django_test_environment, django_db_blocker):
    with plane_database.made(django_db_blocker):
        yield


@pytest.fixture
def committed(plane, django_db_blocker):
    """The test reads and writes, and commits, where the gateway does."""
    with plane_database.connected(django_db_blocker):
        yield


@pytest.fixture(scope="module")
def plane_unblocked(plane, django_db_blocker):
    """As `committed`, for fixtures of a module."""
    with plane_database.connected(django_db_blocker):
        yield


@pytest.fixture(scope="session")
def upstream(tmp_path_factory):
    with UpstreamThread(tmp_path_factory.mktemp("simulator") / "log") as thread:
        yield thread


@pytest.fixture(scope="session")
def catalog(plane, upstream, django_db_blocker):
    """Models served by the simulator, priced, for all tenants: `sim-*` and a few real names."""
    with plane_database.connected(django_db_blocker):
        fill_catalog(upstream.url)


@pytest.fixture(scope="session")
def gateway(catalog, tmp_path_factory):
    """A gateway as `up` runs it, with bounds a tenth of the real ones."""
    with GatewayProcess(tmp_path_factory.mktemp("gateway")) as process:
        yield process


@pytest.fixture
def acme(gateway, committed):
    """A tenant with a key."""
    return Tenant.make("acme", gateway.url)


@pytest.fixture
def globex(gateway, committed):
    """The tenant that must never see acme."""
    return Tenant.make("globex", gateway.url)


# The meter in this process, without a gateway


@pytest.fixture
def books(plane):
    """The books of an organization that nobody knows."""
    books = Books(plane_database.url())
    yield books
    books.clear()
    books.close()


@pytest.fixture
async def meter(books, tmp_path):
    async with running_meter(books.url, tmp_path / "spool") as meter:
        yield meter


@pytest.fixture
def quiet_loop(caplog):
    """No task or future of ours may end unseen."""
    yield
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


@pytest.fixture
def flushes(monkeypatch):
    """The inodes that went to the disk, one fdatasync after the other."""
    seen, fdatasync = [], os.fdatasync

    def observed(descriptor):
        seen.append(os.fstat(descriptor).st_ino)
        fdatasync(descriptor)

    monkeypatch.setattr(os, "fdatasync", observed)
    return seen


def pytest_terminal_summary(terminalreporter):
    """Figures that tests reached: `record_property("figures", ...)`."""
    for report in terminalreporter.getreports("passed"):
        for name, figures in report.user_properties:
            if name == "figures":
                terminalreporter.write_line(f"{report.nodeid.rpartition('::')[2]}: {figures}")
