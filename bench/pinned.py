"""`pinned.py CORES PIDFILE COMMAND...`: notes its number in PIDFILE, then becomes COMMAND, on those cores alone.

Run by path in an isolated Python (`-I -S`), so it knows the standard library alone.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path


def on_core(core: int, note: Path, argv: Sequence[str]) -> list[str]:
    """The command line that runs `argv` on one core, its number noted."""
    return [sys.executable, "-I", "-S", __file__, str(core), str(note), *argv]


def main(cores: str, note: str, *command: str) -> None:
    os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    Path(note).write_text(str(os.getpid()))
    os.execv(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
