"""What tests of the spool share: what they write, and what another process reads back."""

import subprocess
import sys
from pathlib import Path
from uuid import UUID

from billing.spool import format as spool_format
from billing.spool.abandoned import unfinished
from billing.spool.writer import Kind

ROOT = Path(__file__).parents[3]
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # many examples, many flushes
OURS, THEIRS = UUID(int=1 << 100 | 7), UUID(int=1 << 90 | 9)
SEED, THEIR_SEED = spool_format.seed(OURS), spool_format.seed(THEIRS)
REQUESTS = [UUID(int=number << 64 | 0xFF) for number in range(1, 7)]
OPEN_KINDS = [kind for kind in Kind if kind is not Kind.ACKNOWLEDGED]


def found(folder):
    """What another process reads back: request -> [(kind, payload)]."""
    return {
        record_id: [(entry.kind, entry.payload) for entry in entries]
        for record_id, entries in unfinished(folder).items()
    }


def segments(folder):
    return sorted(path.name for path in folder.glob("*.spool"))


def fill(spool, record_id, count=1, size=1000):
    for _ in range(count):
        spool.append(Kind.OPENED, record_id, b"x" * size)


def complaints(caplog, level):
    return [record.getMessage() for record in caplog.records if record.levelno == level]


def used(folder):
    """How far each segment is written: no record here ends in a zero."""
    return {path.name: len(path.read_bytes().rstrip(b"\0")) for path in sorted(folder.glob("*.spool"))}


def started(script, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
