"""CPU time, read from /proc, of real processes."""

import os
import subprocess
import sys

from bench.cpu import TICK_MS, calibration_ms, spent_ms

BURN = "import time\nwhile time.process_time() < 0.2: pass\n"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BURN!r}]); print('done', flush=True); input()"

FORK = f"import os\nif os.fork(): os.wait()\nelse:\n    exec({BURN!r})\n    print('done', flush=True)\n    input()"


def test_a_child_that_has_ended_counts_for_its_parent():
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout.readline() == b"done\n"
        spent = spent_ms({"parent": parent.pid})["parent"]
        parent.communicate(b"\n")
    assert spent >= 200 - TICK_MS


def test_a_child_that_runs_counts_for_its_parent():
    with subprocess.Popen([sys.executable, "-c", FORK], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout.readline() == b"done\n"
        spent = spent_ms({"parent": parent.pid})["parent"]
        parent.communicate(b"\n")
    assert spent >= 200 - TICK_MS


def test_a_process_that_is_gone_has_spent_nothing_and_ours_has_spent_something():
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    calibration_ms()
    spent = spent_ms({"gone": gone.pid, "ours": os.getpid()})
    assert spent["gone"] == 0
    assert spent["ours"] > 0
