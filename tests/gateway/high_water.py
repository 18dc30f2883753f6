"""The most memory that a gateway ever had."""

import re
from pathlib import Path


def high_water(gateway):
    """Bytes (VmHWM) of the gateway's process, which is a child of the one that holds its leash."""
    return max(_high_water(pid) for pid in _family(str(gateway.process.pid)))


def _high_water(pid):
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc", pid, "status").read_text())
    return int(found[1]) * 1024


def _family(pid):
    yield pid
    for child in Path("/proc", pid, "task", pid, "children").read_text().split():
        yield from _family(child)
