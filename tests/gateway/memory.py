"""How much memory a gateway has."""

import os
from pathlib import Path

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def resident(gateway):
    """Bytes that the gateway's process has in memory; it is started by another, which only holds its leash."""
    pages = [Path("/proc", pid, "statm").read_text().split()[1] for pid in family(str(gateway.process.pid))]
    return sum(map(int, pages)) * PAGE_BYTES


def family(pid):
    """A process and those that it started."""
    yield pid
    for child in Path("/proc", pid, "task", pid, "children").read_text().split():
        yield from family(child)
