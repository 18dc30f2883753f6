"""Each test runs a supervisor of its own in a child process: it takes over signals, and it may be killed.

What happens is read from the child's lines as it happens.
"""

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateway.local import supervisor
from gateway.local.listener import listen
from gateway.local.processes import StartError
from gateway.local.undertaker import groups_at_the_end

ROOT = Path(__file__).parents[3]

PRELUDE = '''
import functools, os, signal, sys, time
from pathlib import Path
from gateway.local import supervisor
from gateway.local.listener import answers, listen
from gateway.local.processes import Service
from gateway.local.supervisor import GaveUp, Supervisor

say = functools.partial(print, flush=True)
folder = Path(sys.argv[1])

def service(name, code, **more):
    return Service(name=name, argv=[sys.executable, "-c", code, str(folder)], log=folder / f"{name}.log", **more)

OBEDIENT = "import signal; print('up', flush=True); signal.pause()"
STUBBORN = """
import signal
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
print('up', flush=True)
while True:
    signal.pause()
"""
up = {"ready_text": "up"}
'''


class Child:
    """The child process, and all that descends from it: its folder is in their command lines."""

    def __init__(self, story, folder):
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + story, str(folder)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines = []

    def until(self, text):
        for line in self.process.stdout:
            self.lines.append(line.strip())
            if text in line:
                return line.strip()
        raise AssertionError(f"never said {text!r}: {self.lines}")

    def ends(self):
        """Exit status and the lines not read yet."""
        rest = self.process.communicate(timeout=30)[0].splitlines()
        self.lines += rest
        return self.process.returncode, rest

    def tree(self):
        """Numbers and command lines of what is left of it, its undertaker included while it has one."""
        return {
            number: command
            for number, command in command_lines()
            if str(self.folder) in command or ("undertaker.py" in command and parent(number) == self.process.pid)
        }

    def leaves_nothing_within(self, seconds, *, of=()):
        """`of` was a tree: an undertaker that lost its parent is no longer found as a child."""
        deadline = time.monotonic() + seconds
        while left := {*self.tree().items(), *(set(of) & set(command_lines()))}:
            assert time.monotonic() < deadline, left
            time.sleep(0.02)


def command_lines():
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            yield int(folder.name), (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


def parent(number):
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return int(Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.fixture
def run(tmp_path):
    children = []

    def start(story):
        children.append(Child(story, tmp_path))
        return children[-1]

    yield start
    for child in children:
        child.process.kill()
        child.process.communicate()
        for number in child.tree():
            os.kill(number, signal.SIGKILL)


@contextlib.contextmanager
def opened(port, path):
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", path)
        with connection.getresponse() as response:
            yield response


def get(port):
    with opened(port, "/") as response:
        return response.read().decode()


def keep_asking(port):
    while True:
        with contextlib.suppress(ConnectionResetError):  # a client that was let in as the processes closed their doors
            get(port)


def test_it_starts_in_order_and_stops_in_reverse(run):
    child = run(
        """
with Supervisor([[service("one", OBEDIENT, **up)], [service("two", OBEDIENT, **up)]], progress=say) as running:
    running.run_until_stopped()
say("over")
"""
    )
    child.until("all is up")
    child.process.terminate()
    code, _ = child.ends()
    assert code == 0
    assert [line.split(" in ")[0] for line in child.lines] == [
        "one: ready",
        "two: ready",
        "all is up; Ctrl-C stops it",
        "two: stopped",
        "one: stopped",
        "over",
    ]
    child.leaves_nothing_within(0)


def test_a_task_runs_to_its_end_before_the_next_stage_starts(run):
    child = run(
        """
task = service("task", "open('made', 'w')", once=True, cwd=folder)
needs_it = service("reader", "open('made'); " + OBEDIENT, cwd=folder, **up)
with Supervisor([[task], [needs_it]], progress=say):
    say("both")
"""
    )
    assert child.ends()[0] == 0
    assert child.lines[0].startswith("task: done in ")
    assert "both" in child.lines


def test_a_failed_task_stops_what_runs_and_says_what_it_said(run):
    child = run(
        """
task = service("task", "raise SystemExit('the disk is full')", once=True, advice="Buy a disk.")
Supervisor([[service("one", OBEDIENT, **up)], [task]], progress=say).start()
"""
    )
    code, _ = child.ends()
    said = "\n".join(child.lines)
    assert code == 1
    assert "task did not start (exit status 1)" in said
    assert "| the disk is full" in said
    assert said.endswith("Buy a disk.")
    assert "one: stopped" in said
    child.leaves_nothing_within(0)


def test_a_service_that_is_never_ready_fails_the_start(run):
    child = run("""Supervisor([[service("slow", OBEDIENT, ready=lambda: False, start_deadline=0.3)]]).start()""")
    assert child.ends()[0] == 1
    assert any("slow was not ready after 0.3 s" in line for line in child.lines)


def test_what_dies_is_started_again_and_its_orphans_are_gone_first(run):
    child = run(
        """
parent = '''
import os, subprocess, sys, signal
subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()", sys.argv[1], "orphan"])
print("up", os.getpid(), flush=True)
signal.pause()
'''
with Supervisor([[service("parent", parent, **up)]], progress=say) as running:
    say((folder / "parent.log").read_text())
    running.run_until_stopped()
"""
    )
    first = int(child.until("up ").split()[1])
    os.kill(first, signal.SIGKILL)
    assert "died (killed by SIGKILL)" in child.until("starting it again")
    deadline = time.monotonic() + 5
    while (child.folder / "parent.log").read_text().count("up") < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    tree = child.tree()
    assert first not in tree
    assert sum(command.endswith("orphan ") for command in tree.values()) == 1
    child.process.terminate()
    assert child.ends()[0] == 0
    child.leaves_nothing_within(0)


def test_it_gives_up_on_what_dies_six_times_in_a_minute(run):
    child = run(
        """
supervisor.RESTART_PAUSES = (0.01,) * 5
weak = service("weak", "print('weak heart', flush=True); import time; time.sleep(0.1); raise SystemExit(3)")
try:
    with Supervisor([[service("one", OBEDIENT, **up)], [weak]], progress=say) as running:
        running.run_until_stopped()
except GaveUp as error:
    raise SystemExit(str(error))
"""
    )
    code, _ = child.ends()
    said = "\n".join(child.lines)
    assert code == 1
    assert said.count("weak: died (exit status 3), starting it again") == 5
    assert "weak died 6 times within a minute" in said
    assert "| weak heart" in said
    assert "one: stopped" in said


def test_pauses_between_restarts_grow():
    assert list(supervisor.RESTART_PAUSES) == sorted(supervisor.RESTART_PAUSES)
    assert len(supervisor.RESTART_PAUSES) == 5


def test_what_ignores_its_signal_is_killed_at_its_deadline(run):
    child = run(
        """
with Supervisor([[service("deaf", STUBBORN, stop_deadline=0.3, **up)]], progress=say):
    pass
"""
    )
    assert child.ends()[0] == 0
    assert 0.3 <= float(child.lines[-1].removeprefix("deaf: stopped in ").removesuffix(" s")) < 3
    child.leaves_nothing_within(0)


def test_a_second_signal_hurries(run):
    child = run(
        """
with Supervisor([[service("deaf", STUBBORN, stop_deadline=600, **up)]], progress=say) as running:
    running.run_until_stopped()
    say("stopping")
"""
    )
    child.until("all is up")
    child.process.send_signal(signal.SIGINT)
    child.until("stopping")
    child.process.send_signal(signal.SIGINT)
    assert child.ends()[0] == 0
    child.leaves_nothing_within(0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_while_starting_stops_in_order(run, number):
    child = run(
        """
def waits():
    say("waiting")
    return False
Supervisor([[service("one", OBEDIENT, **up)], [service("two", OBEDIENT, ready=waits)]], progress=say).start()
"""
    )
    child.until("waiting")
    child.process.send_signal(number)
    code, rest = child.ends()
    assert code == 128 + number
    assert [line.split(" in ")[0] for line in rest if line != "waiting"] == ["two: stopped", "one: stopped"]


def test_a_signal_while_the_caller_is_at_work_stops_in_order(run):
    child = run(
        """
with Supervisor([[service("one", OBEDIENT, **up)]], progress=say):
    say("at work")
    time.sleep(60)
"""
    )
    child.until("at work")
    child.process.terminate()
    code, rest = child.ends()
    assert code == 128 + signal.SIGTERM
    assert rest[0].startswith("one: stopped")


def test_after_kill_9_nothing_is_left_however_stubborn(run):
    child = run(
        """
family = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {STUBBORN!r}, sys.argv[1]])" + STUBBORN
with Supervisor([[service("deaf", STUBBORN, **up)], [service("family", family, **up)]], progress=say):
    say("at work")
    time.sleep(60)
"""
    )
    child.until("at work")
    before = child.tree()
    assert len(before) == 5  # supervisor, undertaker, deaf, family of two
    child.process.kill()
    child.process.wait()
    child.leaves_nothing_within(5, of=before.items())


JOBS = """
import os, time
import celery
app = celery.Celery("jobs")
app.conf.beat_scheduler = "celery.beat:Scheduler"
app.conf.task_default_queue = os.path.dirname(__file__)
app.conf.beat_schedule = {"nap": {"task": "jobs.nap", "schedule": 0.1}}
@app.task(name="jobs.nap")
def nap():
    print("napping", flush=True)
    time.sleep(600)
"""


def test_after_kill_9_a_celery_worker_its_busy_pool_and_its_beat_are_gone(run, tmp_path):
    (tmp_path / "jobs.py").write_text(JOBS)
    broker = os.environ["BROKER_URL"].replace("unix://", "redis+socket://", 1)
    child = run(
        f"""
worker = Service(
    name="worker",
    argv=[sys.executable, "-m", "celery", "-A", "jobs", "--workdir", str(folder), "worker", "-B", "-c", "2"],
    log=folder / "worker.log", cwd=folder, ready_text="napping",
    env={{"BROKER_URL": {broker!r}, "DJANGO_SETTINGS_MODULE": ""}})
with Supervisor([[worker]], progress=say) as running:
    running.run_until_stopped()
"""
    )
    child.until("worker: ready")
    before = child.tree()
    assert sum("-m celery" in command for command in before.values()) == 4  # main, two of the pool, beat
    child.process.kill()
    child.process.wait()
    child.leaves_nothing_within(5, of=before.items())


APP = """
import asyncio, os
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/stream":
        for number in range(10):
            await send({"type": "http.response.body", "body": b"%d\\n" % number, "more_body": True})
            await asyncio.sleep(0.1)
    body = f"{os.getpid()} {scope['client'][0]}".encode()
    await send({"type": "http.response.body", "body": body})
"""
SERVE = (
    f"APP = {APP!r}"
    + """
(folder / "app.py").write_text(APP)
listener = listen("127.0.0.1", 0)
argv = [sys.executable, "-m", "uvicorn", "app:app", "--app-dir", str(folder), "--fd", str(listener.fileno())]
argv += "--loop uvloop --http httptools --ws none --lifespan off --timeout-graceful-shutdown 20".split()
def gateway(name):
    return Service(name=name, argv=argv, log=folder / f"{name}.log", pass_fds=(listener.fileno(),),
                   ready=lambda: answers(listener, "/"), ready_text="Uvicorn running", stop_deadline=25)
with Supervisor([[gateway("a"), gateway("b")]], listeners=[listener], progress=say) as running:
    say("port", listener.getsockname()[1])
    running.run_until_stopped()
"""
)


def test_processes_share_a_socket_that_outlives_them(run):
    child = run(SERVE)
    port = int(child.until("port ").split()[1])
    child.until("all is up")
    answers = {get(port) for _ in range(100)}
    assert len(answers) == 2
    assert {answer.split()[1] for answer in answers} == {"127.0.0.1"}
    for answer in answers:
        os.kill(int(answer.split()[0]), signal.SIGKILL)
    assert get(port) not in answers  # waited in the socket's queue meanwhile


def test_a_stream_is_finished_while_new_clients_are_refused(run):
    child = run(SERVE)
    port = int(child.until("port ").split()[1])
    child.until("all is up")
    with opened(port, "/stream") as stream:
        assert stream.readline() == b"0\n"
        child.process.terminate()
        with pytest.raises(ConnectionRefusedError):
            keep_asking(port)
        refused_at = time.monotonic()
        assert stream.read().startswith(b"1\n2\n3\n4\n5\n6\n7\n8\n9\n")
        assert time.monotonic() - refused_at > 0.2  # refused first, finished later
    assert child.ends()[0] == 0
    child.leaves_nothing_within(0)


def test_a_port_that_is_taken_is_a_sentence():
    with listen("127.0.0.1", 0) as taken, pytest.raises(StartError, match="choose another --port"):
        listen("127.0.0.1", taken.getsockname()[1])


def test_the_undertaker_forgets_what_ended_and_a_line_cut_short():
    assert groups_at_the_end(["+10\n", "+11\n", "-10\n", "+12"]) == {11}
