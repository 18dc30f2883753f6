"""The bench as a program: what it prints, how it ends, and that it leaves nothing behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "bench" / "build"
MARK = "BENCH_MARK"  # in the environment of all that a run starts
FIGURE = {"median", "lowest", "highest"}

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="the bench builds its load generator with gcc")


class Run:
    def __init__(self, *words, **environment):
        self.mark = f"{MARK}={uuid.uuid4()}"
        argv = [sys.executable, "-m", "bench", *words]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        variables = os.environ | environment | dict([self.mark.split("=")])
        self.process = subprocess.Popen(argv, cwd=ROOT, env=variables, **pipes)

    def folders(self):
        return list(BUILD.glob(f"stand-{self.process.pid}-*"))

    def ends(self):
        """Exit status, stdout, stderr."""
        said, errors = self.process.communicate(timeout=110)
        return self.process.returncode, said, errors

    def leftovers(self):
        """Folders, and processes that it started."""
        return self.folders(), [path.parent.name for path in Path("/proc").glob("[0-9]*/environ") if self.started(path)]

    def started(self, environment):
        try:
            return self.mark.encode() in environment.read_bytes()
        except OSError:  # it ended meanwhile
            return False


@pytest.mark.slow
@needs_gcc
def test_each_part_has_its_figures_and_nothing_is_left_behind():
    run = Run("json-64", "sse", "--seconds", "0.3", "--rounds", "1", "--json")
    status, said, errors = run.ends()
    assert (status, errors) == (0, "")
    found = json.loads(said)
    assert set(found["shapes"]) == {"json-64", "sse"}
    assert set(found["shapes"]["json-64"]) == {"Tollgate", "Tollgate, two processes"}
    for shape in found["shapes"].values():
        ours = shape["Tollgate"]
        assert ours["requests"]["lowest"] > 0
        assert ours["gateway_cpu_ms"]["lowest"] > 0
        assert ours["postgresql_cpu_ms"].keys() == ours["valkey_cpu_ms"].keys() == FIGURE
        assert ours["requests_per_second"].keys() == FIGURE
    assert found["noise"]["calibration_ms"]["lowest"] > 0
    assert found["noise"].keys() >= {
        "flush_ms",
        "strangers_percent",
        "steal_percent",
        "gateway_core_percent",
        "other_core_percent",
    }
    assert "profile-guided" in found["machine"]["python"]
    assert run.leftovers() == ([], [])


@pytest.mark.slow
@needs_gcc
def test_streams_and_single_requests_have_theirs():
    status, said, errors = Run("json-1", "paced", "open", "leave", "--seconds", "0.3", "--rounds", "1", "--json").ends()
    assert (status, errors) == (0, "")
    found = json.loads(said)
    one, paced, opened, left = (found["shapes"][name]["Tollgate"] for name in ("json-1", "paced", "open", "leave"))
    assert one["p50_ms"]["median"] - one["direct_p50_ms"]["median"] == pytest.approx(one["added_p50_ms"]["median"])
    assert one["flush_ms"]["median"] > 0
    assert paced["event_cpu_us"]["median"] > 0
    assert paced["ttfb_p50_ms"]["median"] > 0
    assert opened["requests"]["median"] == 1000
    assert opened["more_mb"]["median"] > 1
    assert opened["threads"]["median"] >= 1
    assert left["cut"]["median"] + left["read_on"]["median"] == 100
    assert left["left_open"]["median"] == 0


@pytest.mark.slow
@needs_gcc
def test_a_stop_signal_ends_it_in_order():
    run = Run("json-256", "--seconds", "60")
    deadline = time.monotonic() + 60
    while not any((folder / "load.pid").exists() for folder in run.folders()):
        assert run.process.poll() is None, run.ends()
        assert time.monotonic() < deadline, run.process.kill()
        time.sleep(0.05)
    run.process.send_signal(signal.SIGTERM)
    assert run.ends() == (128 + signal.SIGTERM, "", "")
    assert run.leftovers() == ([], [])


@pytest.mark.slow
@needs_gcc
def test_peers_that_are_absent_are_said_to_be_and_the_run_goes_on(tmp_path):
    run = Run("json-64", "--peers", "--seconds", "0.2", "--rounds", "1", "--json", BENCH_PEERS=str(tmp_path))
    status, said, errors = run.ends()
    assert (status, errors) == (0, "")
    found = json.loads(said)
    assert found["absent"].keys() >= {"LiteLLM", "LiteLLM with database", "Portkey"}
    assert "install-peers" in found["absent"]["LiteLLM"]
    assert found["shapes"]["json-64"]["Tollgate"]["requests"]["lowest"] > 0
    assert "not measured" in {goal["verdict"] for goal in found["goals"] if "LiteLLM" in goal["title"]}
    if shutil.which("nginx"):
        assert found["shapes"]["json-64"]["nginx"]["gateway_cpu_ms"]["lowest"] > 0
    assert run.leftovers() == ([], [])


def test_without_a_compiler_it_says_so_and_is_content():
    status, said, errors = Run(PATH="/nowhere").ends()
    assert (status, errors) == (0, "")
    assert "gcc is not installed" in said


def test_a_shape_that_does_not_exist_is_named():
    status, _, errors = Run("json-2").ends()
    assert status == 2
    assert "no such shape: json-2" in errors
