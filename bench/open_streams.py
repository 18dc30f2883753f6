"""A thousand streams open at the same time: what they hold of memory and threads."""

import subprocess
import time

from bench.figures import Round
from bench.load import Failed, Request
from bench.setting import Setting
from bench.target import Target

STREAMS = 1000
SLOW = Request(deltas=8, pause_ms=1000)
LEAST_SECONDS = SLOW.deltas * SLOW.pause_ms / 1000
LOOK_SECONDS = 0.1


def open_streams(setting: Setting, target: Target) -> Round:
    """Raises Failed where they were not all open together: the last came when the first had ended."""
    before, threads = target.memory_mb(), target.threads()
    with setting.load.sending(target, SLOW, at_once=STREAMS, seconds=60, most=STREAMS) as process:
        most_mb, most_threads = _most(target, process)
        sent = setting.load.received(target, SLOW, process, 150)
    opened = sent["ttfb99"] / 1000
    if sent["n"] != STREAMS or opened >= LEAST_SECONDS:
        raise Failed(f"{target.name}: {sent['n']} streams, the last after {opened:.1f} s, were not all open together.")
    return {
        "requests": STREAMS,
        "before_mb": before,
        "more_mb": most_mb - before,
        "threads": threads,
        "more_threads": most_threads - threads,
        "opened_seconds": opened,
    }


def _most(target: Target, process: subprocess.Popen[str]) -> tuple[float, int]:
    memory, threads = 0.0, 0
    while process.poll() is None:
        memory, threads = max(memory, target.memory_mb()), max(threads, target.threads())
        time.sleep(LOOK_SECONDS)
    return memory, threads
