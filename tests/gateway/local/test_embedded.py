import contextlib
import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import environ
import psycopg
import pytest
import redis

from gateway.local import account, embedded, leash
from gateway.local.embedded import PostgresServer, ValkeyServer, database_url, redis_url, socket_folder
from gateway.local.processes import StartError, leashed

ROOT = Path(__file__).parents[3]
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another account")


@pytest.fixture(scope="module")
def var():
    """Short, for sockets; with an initialized database, stopped."""
    with tempfile.TemporaryDirectory(prefix="tg-") as folder:
        server = PostgresServer(Path(folder))
        server.start()
        server.stop()
        yield Path(folder)


@pytest.fixture
def postgres(var):
    server = PostgresServer(var)
    yield server
    server.stop()


@pytest.fixture
def valkey(var):
    server = ValkeyServer(var)
    yield server
    server.stop()


@pytest.fixture
def long_var(tmp_path):
    folder = tmp_path / ("deep" * 30)
    sockets = socket_folder(folder)
    yield folder
    shutil.rmtree(sockets, ignore_errors=True)
    sockets.unlink(missing_ok=True)


def ask(var, query):
    with psycopg.connect(database_url(var)) as connection:
        cursor = connection.execute(query)
        return cursor.fetchone()[0] if cursor.description else None


def processes_of(var):
    """Those with the folder in their command line; a server names its data or its socket there."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if str(var).encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def wait_until(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_addresses_are_known_before_anything_runs_and_nothing_is_written(tmp_path):
    var = tmp_path / "var"
    assert database_url(var) == database_url(var)
    assert redis_url(var) != redis_url(tmp_path / "other")
    assert not var.exists()


def test_django_environ_reads_the_address(var):
    config = environ.Env.db_url_config(database_url(var))
    assert config["NAME"] == config["USER"] == "postgres"
    assert config["OPTIONS"] == {"host": str(var / "run")}


@pytest.mark.parametrize("name", ["deep" * 30, "a,b", "a b", "a?b", "ü"])
def test_a_folder_too_long_or_too_strange_for_an_address_has_its_sockets_elsewhere(tmp_path, name):
    sockets = socket_folder(tmp_path / name)
    assert sockets.parent == Path("/tmp")
    assert len(str(sockets / embedded.POSTGRES_SOCKET)) < 100


def test_it_works_in_a_folder_too_long_for_sockets(long_var):
    server = ValkeyServer(long_var)
    server.start()
    try:
        with redis.Redis.from_url(redis_url(long_var)) as client:
            assert client.ping()
        assert stat.S_IMODE(socket_folder(long_var).stat().st_mode) == 0o700
    finally:
        server.stop()


def test_a_strangers_socket_folder_is_refused(long_var):
    socket_folder(long_var).write_text("not a folder")
    with pytest.raises(StartError, match="belongs to someone else"):
        redis_url(long_var)


@root_only
def test_another_accounts_socket_folder_is_refused(long_var):
    socket_folder(long_var).mkdir()
    os.chown(socket_folder(long_var), leash.nobody(), -1)
    with pytest.raises(StartError, match="belongs to someone else"):
        database_url(long_var)


def test_what_was_committed_is_there_after_a_restart(var, postgres):
    postgres.start()
    ask(var, "create table kept as select 42 as answer")
    postgres.stop()
    assert not postgres.ready()
    postgres.start()
    assert ask(var, "select answer from kept") == 42


def test_a_valkey_key_is_there_after_a_restart(var, valkey):
    valkey.start()
    with redis.Redis.from_url(redis_url(var)) as client:
        client.set("kept", "42")
    valkey.stop()
    assert not valkey.ready()
    valkey.start()
    with redis.Redis.from_url(redis_url(var)) as client:
        assert client.get("kept") == b"42"


def test_durable_servers_are_safe_and_the_tests_own_are_fast(var, postgres):
    postgres.start()
    assert ask(var, "select current_setting('fsync')") == "on"
    postgres.stop()
    fast = PostgresServer(var, durable=False)
    fast.start()
    try:
        assert ask(var, "select current_setting('fsync')") == "off"
    finally:
        fast.stop()


def test_text_is_utf8_and_sorts_the_same_everywhere(var, postgres):
    postgres.start()
    assert ask(var, "show server_encoding") == "UTF8"
    assert ask(var, "select datlocale from pg_database where datname = 'postgres'") == "C.UTF-8"


def test_servers_are_not_on_the_network_and_their_folders_are_private(var, postgres, valkey):
    postgres.start()
    valkey.start()
    assert ask(var, "show listen_addresses") == ""
    with redis.Redis.from_url(redis_url(var)) as client:
        assert client.config_get("port") == {"port": "0"}
    for folder in (var / "run", var / "log", var / "postgres", var / "valkey"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for socket in (var / "run").glob("*[!k]"):  # all but the .lock
        assert stat.S_IMODE(socket.stat().st_mode) == 0o700


@pytest.mark.parametrize("server", [PostgresServer, ValkeyServer])
def test_a_second_instance_on_the_same_folder_is_told_so_at_once(var, server):
    first, second = server(var), server(var)
    first.start()
    try:
        with pytest.raises(StartError, match=rf"Another Tollgate \(process {os.getpid()}\) already runs on {var}"):
            second.start()
        assert first.ready()
    finally:
        first.stop()
    second.start()
    second.stop()


def test_a_killed_servers_pid_file_does_not_stand_in_the_way(var, postgres):
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as stranger:  # has the number now
        (var / "postgres" / "postmaster.pid").write_text(f"{stranger.pid}\n{var}/postgres\n")
        (var / "run" / ".s.PGSQL.5432.lock").write_text(f"{stranger.pid}\n")
        postgres.start()
        assert postgres.ready()


def test_a_half_made_database_is_made_again():
    with tempfile.TemporaryDirectory(prefix="tg-") as folder:
        (Path(folder) / "postgres.new").mkdir()
        (Path(folder) / "postgres.new" / "PG_VERSION").write_text("18\n")
        server = PostgresServer(Path(folder), durable=False)
        server.start()
        server.stop()
        assert sorted(path.name for path in Path(folder).glob("postgres*")) == ["postgres", "postgres.lock"]


def test_a_failed_start_shows_the_end_of_the_log_and_what_to_do(var, postgres):
    version = var / "postgres" / "PG_VERSION"
    version.write_text("9\n")
    try:
        with pytest.raises(StartError) as failure:
            postgres.start()
    finally:
        version.write_text("18\n")
    assert "PostgreSQL did not start (exit status 1)" in str(failure.value)
    assert "not compatible with this version" in str(failure.value)
    assert "set DATABASE_URL" in str(failure.value)


@root_only
def test_where_root_may_make_no_namespaces_it_runs_as_nobody_on_folders_only_root_can_reach(monkeypatch):
    for module in (account, embedded):
        monkeypatch.setattr(module, "account", lambda: "nobody")
    with tempfile.TemporaryDirectory(prefix="tg-") as folder:  # 0700, root's
        server = PostgresServer(Path(folder) / "var", durable=False)
        server.start()
        try:
            assert ask(server.var, "select 1") == 1
            assert server.data.stat().st_uid == leash.nobody()
        finally:
            server.stop()


@root_only
def test_nobody_keeps_one_capability_of_root_and_no_more():
    command = leashed(["cat", "/proc/self/status"], signal.SIGKILL, "nobody")
    status = dict(line.split(":\t", 1) for line in subprocess.check_output(command, text=True).splitlines())
    assert status["Uid"].split() == [str(leash.nobody())] * 4
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 1 << leash.CAP_DAC_OVERRIDE


OWNER = """
import sys
from pathlib import Path
from gateway.local.embedded import PostgresServer, ValkeyServer
servers = [PostgresServer(Path(sys.argv[1])), ValkeyServer(Path(sys.argv[1]))]
for server in servers:
    server.start()
print("ready", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def another_owner(var):
    command = [sys.executable, "-c", OWNER, str(var)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout.readline() == "ready\n"
        yield owner


def test_a_folder_is_taken_until_the_last_server_of_a_killed_owner_is_gone(var, postgres):
    with another_owner(var) as owner, (var / "postgres.lock").open() as lock:
        postmaster = int((var / "postgres" / "postmaster.pid").read_text().splitlines()[0])
        os.kill(postmaster, signal.SIGSTOP)  # it cannot end now
        try:
            owner.kill()
            owner.wait()
            with pytest.raises(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.kill(postmaster, signal.SIGCONT)
    postgres.start()
    assert postgres.ready()


def test_servers_die_with_their_owner_however_it_dies_and_lose_nothing(var, postgres):
    with another_owner(var) as owner:
        ask(var, "create table survivor as select 42 as answer")
        assert len(processes_of(var)) >= 3
        owner.kill()
    postgres.start()  # at once: waits for the old one to end
    assert ask(var, "select answer from survivor") == 42
    postgres.stop()
    wait_until(lambda: not processes_of(var), seconds=5)
