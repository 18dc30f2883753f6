"""A host: gateway processes that share a SPOOL_DIR."""

import pytest

from tests.gateway_process import GatewayProcess


class Host:
    """`process(faults)` is another process of the host, armed with these."""

    def __init__(self, folder, *, tenths=True):
        self.folder = folder
        self.spool_dir = folder / "spool"
        self._tenths = tenths
        self._processes = 0

    def process(self, faults="", **bounds):
        self._processes += 1
        bounds = {"SPOOL_DIR": str(self.spool_dir), "TOLLGATE_FAULTS": faults, **bounds}
        return GatewayProcess(self.folder / str(self._processes), tenths=self._tenths, **bounds)


@pytest.fixture
def host(catalog, committed, tmp_path):
    """One that no other test has."""
    return Host(tmp_path)


@pytest.fixture(scope="module")
def inhabited_host(catalog, tmp_path_factory):
    """One with a process that lives on and takes up what the dead leave."""
    host = Host(tmp_path_factory.mktemp("host"))
    with host.process():
        yield host
