"""The stand: one gateway process with everything on, its own database and Valkey, and an upstream that costs nothing.

They are the product's own parts, started as `manage.py up` starts them, less the Celery worker, whose posting would be
counted into the requests. The gateway has one core to itself; all else shares the next.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg

from bench import cpu, pinned
from bench.programs import FOLDER, Programs
from gateway.local.embedded import database_url
from gateway.local.instance import Instance
from gateway.local.listener import listen
from gateway.local.processes import Service
from gateway.local.supervisor import Supervisor

BASE = FOLDER.parent
HOST = "127.0.0.1"
PARTS = {"gateway": "gateway", "PostgreSQL": "postgresql", "Valkey": "valkey"}  # service -> name in figures
FOREIGN = ("DATABASE_URL", "REDIS_URL", "BROKER_URL", "PUBLIC_URL", "ALLOWED_HOSTS", "SECRET_KEY", "KEY_PEPPERS",
           "SEALING_KEYS", "METRICS_TOKEN", "DJANGO_SETTINGS_MODULE")  # fmt: skip
SHUTDOWN_SECONDS = 10.0
SETTLED_SECONDS = 5.0
STATES = """
SELECT state, count(*) FROM billing_usagerecord GROUP BY state
UNION ALL SELECT 'pending', count(*) FROM billing_hold HAVING count(*) > 0
"""


@dataclass(frozen=True, slots=True)
class Cores:
    """Numbers as for taskset; the same ones where the machine has but one."""

    gateway: int
    others: int

    @classmethod
    def of_this_machine(cls) -> Self:
        usable = sorted(os.sched_getaffinity(0))
        return cls(gateway=usable[0], others=usable[min(1, len(usable) - 1)])


class Stand:
    """Runs for the length of a `with` block. Raises StartError, and CalledProcessError where a command refuses."""

    def __init__(self, folder: Path, programs: Programs, cores: Cores) -> None:
        self._folder = folder
        self._programs = programs
        self._cores = cores
        self._listener = listen(HOST, 0)
        self._upstream_port = _free_port()
        self._supervisor = Supervisor(self._stages(), listeners=[self._listener], progress=lambda text: None)
        self.port: int = self._listener.getsockname()[1]
        self.key = ""

    def __enter__(self) -> Self:
        for name in [name for name in os.environ if name.startswith("TOLLGATE_") or name in FOREIGN]:
            del os.environ[name]
        os.environ["TOLLGATE_VAR"] = str(self._folder)
        self._supervisor.start()
        try:
            self._set_up()
        except BaseException:
            self._supervisor.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        self._supervisor.stop()

    def spent_ms(self) -> dict[str, float]:
        """CPU time so far, by part."""
        return cpu.spent_ms({part: int(self._note(name).read_text()) for name, part in PARTS.items()})

    def records(self) -> dict[str, int]:
        """How many requests are in which state, once none is pending any more or it took too long."""
        deadline = time.monotonic() + SETTLED_SECONDS
        with closing(psycopg.connect(database_url(self._folder), autocommit=True)) as connection:
            while True:
                states: dict[str, int] = dict(connection.execute(STATES).fetchall())
                if "pending" not in states or time.monotonic() > deadline:
                    return states
                time.sleep(0.1)

    def _stages(self) -> list[list[Service]]:
        instance = Instance(
            base=BASE,
            var=self._folder,
            has_own_database=True,
            has_own_valkey=True,
            listener=self._listener,
            host_header=HOST,
            broker_url="",  # of the worker, which is not started
            public_url="http://127.0.0.1:8000",
            workers=1,
            is_production=False,
            shutdown_seconds=SHUTDOWN_SECONDS,
        )
        servers, tables, _jobs, gateways = instance.stages()
        stages = [[self._upstream()], servers, tables, gateways]
        return [[self._pinned(service) for service in stage] for stage in stages]

    def _upstream(self) -> Service:
        return Service(
            name="upstream",
            argv=[str(self._programs.upstream), str(self._upstream_port)],
            log=self._folder / "log" / "upstream.log",
            ready=lambda: _accepts(self._upstream_port),
        )

    def _pinned(self, service: Service) -> Service:
        core = self._cores.gateway if service.name == "gateway" else self._cores.others
        return replace(service, argv=on_core(core, self._note(service.name), service.argv))

    def _note(self, name: str) -> Path:
        return self._folder / f"{name}.pid"

    def _set_up(self) -> None:
        """What an admin does, with the admins' commands."""
        mock = ("--name", "mock", "--url", f"http://{HOST}:{self._upstream_port}/v1", "--key", "sk-mock-0001")
        _manage("add_upstream", *mock, "--models", "json,sse-*", "--allow-private")
        for model in ("json", "sse-*"):
            _manage("set_price", "--model", model, "--input", "0.40", "--cached-input", "0.10", "--output", "1.60")
        issued = _manage("issue_key", "--organization", "acme", "--project", "bench", "--name", "bench", "--create")
        self.key = issued["key"]
        for level, name in (("organization", "acme"), ("project", "acme/bench"), ("key", issued["id"])):
            _manage("set_quota", f"--{level}", name, "--metric", "cost", "--window", "month", "--limit", "1000000")


def on_core(core: int, note: Path, argv: Sequence[str]) -> list[str]:
    """The command line that runs `argv` on one core, its number noted."""
    return [sys.executable, "-I", "-S", pinned.__file__, str(core), str(note), *argv]


def _manage(*words: str) -> dict[str, Any]:
    command = [sys.executable, "manage.py", *words, "--json"]
    done = subprocess.run(command, cwd=BASE, check=True, stdout=subprocess.PIPE)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _accepts(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True
