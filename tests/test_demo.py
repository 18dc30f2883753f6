"""`manage.py demo` and `up` as a person runs them."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from django.conf import settings

from tests.tenants import until

pytestmark = pytest.mark.slow

CONFIGURED = ("DATABASE_URL", "REDIS_URL", "BROKER_URL", "SECRET_KEY", "KEY_PEPPERS", "SEALING_KEYS")


def started(*words, folder=None, **environment):
    """manage.py in a process of its own, with nothing configured."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith("TOLLGATE_") and name not in CONFIGURED
    }
    kept |= {"PYTHONUNBUFFERED": "1", **environment, **({"TOLLGATE_VAR": str(folder)} if folder else {})}
    return subprocess.Popen(
        [sys.executable, "manage.py", *words], cwd=settings.BASE_DIR, env=kept, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def processes_naming(text):
    """Pids of the processes whose command line holds `text`."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and text in (entry / "cmdline").read_bytes().decode(errors="replace"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def descendants(pid):
    """Pids of the children of a process, and theirs."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []
    return children + [below for child in children for below in descendants(child)]


def is_running(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[:1]
    except OSError:
        return False


def lines_until(process, start):
    """What it has said up to and with the line that starts so."""
    said = []
    for line in process.stdout:
        said.append(line)
        if line.startswith(start):
            break
    return said


@pytest.mark.timeout(150)
def test_the_demo_tells_its_story_and_leaves_nothing_behind():
    began = time.monotonic()
    with started("demo") as demo:
        output = demo.stdout.read()
    assert demo.returncode == 0, output
    assert time.monotonic() - began < 90
    assert output.count(": equal") == 2
    assert "response.output_text.delta" in output
    assert "You said: 你好啊" in output
    folder = re.search(r"in (/\S+)", output)[1]
    assert not Path(folder).exists()
    assert processes_naming(folder) == []


@pytest.mark.timeout(150)
def test_a_killed_demo_leaves_no_process_behind():
    with started("demo") as demo:
        said = lines_until(demo, "A tenant asks")
        below = descendants(demo.pid)
        demo.kill()
    assert len(below) >= 5
    folder = re.search(r"in (/\S+)", "".join(said))[1]
    until(lambda: not any(is_running(pid) for pid in below) and not processes_naming(folder), seconds=15)


@pytest.mark.timeout(150)
def test_up_makes_an_admin_once_restarts_what_dies_and_stops_in_order(tmp_path):
    with started("up", "--port", "0", "--workers", "2", folder=tmp_path / "var") as up:
        said = lines_until(up, "all is up")
        gateways = [pid for pid in descendants(up.pid) if b"uvicorn" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        os.kill(gateways[0], signal.SIGKILL)
        assert "died (killed by SIGKILL), starting it again" in next(line for line in up.stdout if "died" in line)
        up.send_signal(signal.SIGTERM)
        rest = up.stdout.read()
    assert up.returncode == 0
    stops = re.findall(r"^(.+): stopped in", rest, re.MULTILINE)
    assert [name.split()[0] for name in stops] == ["gateway", "gateway", "Celery", "PostgreSQL", "Valkey"]
    password_file = tmp_path / "var" / "admin-password"
    assert any(password_file.read_text().strip() in line for line in said)
    assert password_file.stat().st_mode & 0o777 == 0o600
    with started("up", "--port", "0", folder=tmp_path / "var") as again:
        said = lines_until(again, "all is up")
        again.send_signal(signal.SIGTERM)
    assert not any("password" in line for line in said)
