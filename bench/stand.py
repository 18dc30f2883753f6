"""The stand: one gateway process with everything on, its own database and Valkey, and an upstream that costs nothing;
beside it, where asked for, a gateway of two processes on the same database.

They are the product's own parts, started as `manage.py up` starts them, less the Celery worker, whose posting would be
counted into the requests. The gateway has one core to itself; all else shares the next.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg

from bench.load import MODEL, Failed
from bench.machine import Cores, python
from bench.pinned import on_core
from bench.programs import FOLDER, Programs
from bench.target import Target
from gateway.local.embedded import database_url
from gateway.local.instance import Instance
from gateway.local.listener import listen
from gateway.local.processes import Service
from gateway.local.supervisor import Supervisor

BASE = FOLDER.parent
HOST = "127.0.0.1"
OURS, PAIR = "Tollgate", "Tollgate, two processes"
UPSTREAM = "upstream, called directly"
FOREIGN = ("DATABASE_URL", "REDIS_URL", "BROKER_URL", "PUBLIC_URL", "ALLOWED_HOSTS", "SECRET_KEY", "KEY_PEPPERS",
           "SEALING_KEYS", "METRICS_TOKEN", "DJANGO_SETTINGS_MODULE")  # fmt: skip
SHUTDOWN_SECONDS = 10.0
SETTLED_SECONDS = 5.0
STATES = """
SELECT state, count(*) FROM billing_usagerecord GROUP BY state
UNION ALL SELECT 'pending', count(*) FROM billing_hold HAVING count(*) > 0
UNION ALL SELECT 'owned', count(*) FROM gateway_responseowner
"""


class Stand:
    """Runs for the length of a `with` block. Raises StartError, and CalledProcessError where a command refuses."""

    def __init__(self, folder: Path, programs: Programs, cores: Cores, *, pair: bool = False) -> None:
        self._folder = folder
        self._programs = programs
        self._cores = cores
        self._listener = listen(HOST, 0)
        self._pair = listen(HOST, 0) if pair else None
        self.upstream_port = free_port()
        listeners = [self._listener, *([self._pair] if self._pair else [])]
        self._supervisor = Supervisor(self._stages(), listeners=listeners, progress=lambda text: None)
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

    def ours(self) -> Target:
        return self._target(OURS, self._listener, "gateway", about=python())

    def pair(self) -> Target:
        """Two processes of a gateway that accept from one socket."""
        assert self._pair is not None
        return self._target(PAIR, self._pair, "gateway 1", "gateway 2", about=python())

    def upstream(self) -> Target:
        return Target(UPSTREAM, self.upstream_port, {"gateway": (self._number("upstream"),)})

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
        servers, tables, _jobs, gateways = self._instance(self._listener, workers=1).stages()
        pair = self._instance(self._pair, workers=2).stages()[-1] if self._pair else []
        stages = [[self._upstream()], servers, tables, [*gateways, *pair]]
        return [[self._pinned(service) for service in stage] for stage in stages]

    def _instance(self, listener: socket.socket, *, workers: int) -> Instance:
        return Instance(
            base=BASE,
            var=self._folder,
            has_own_database=True,
            has_own_valkey=True,
            listener=listener,
            host_header=HOST,
            broker_url="",  # of the worker, which is not started
            public_url="http://127.0.0.1:8000",
            workers=workers,
            is_production=False,
            shutdown_seconds=SHUTDOWN_SECONDS,
        )

    def _upstream(self) -> Service:
        return Service(
            name="upstream",
            argv=[str(self._programs.upstream), str(self.upstream_port)],
            log=self._folder / "log" / "upstream.log",
            ready=lambda: accepts(self.upstream_port),
        )

    def _pinned(self, service: Service) -> Service:
        own = {"gateway": self._cores.gateway, "gateway 1": self._cores.gateway, "gateway 2": self._cores.second}
        core = own.get(service.name, self._cores.others)
        return replace(service, argv=on_core(core, self._note(service.name), service.argv))

    def _note(self, name: str) -> Path:
        return self._folder / f"{name}.pid"

    def _number(self, name: str) -> int:
        return int(self._note(name).read_text())

    def _target(self, name: str, listener: socket.socket, *gateways: str, about: str) -> Target:
        parts = {
            "gateway": tuple(self._number(gateway) for gateway in gateways),
            "postgresql": (self._number("PostgreSQL"),),
            "valkey": (self._number("Valkey"),),
        }
        headers = (f"Authorization: Bearer {self.key}",)
        return Target(name, listener.getsockname()[1], parts, headers, about)

    def _set_up(self) -> None:
        """What an admin does, with the admins' commands."""
        mock = ("--name", "mock", "--url", f"http://{HOST}:{self.upstream_port}/v1", "--key", "sk-mock-0001")
        _manage("add_upstream", *mock, "--models", MODEL, "--allow-private")
        _manage("set_price", "--model", MODEL, "--input", "0.40", "--cached-input", "0.10", "--output", "1.60")
        issued = _manage("issue_key", "--organization", "acme", "--project", "bench", "--name", "bench", "--create")
        self.key = issued["key"]
        for level, name in (("organization", "acme"), ("project", "acme/bench"), ("key", issued["id"])):
            _manage("set_quota", f"--{level}", name, "--metric", "cost", "--window", "month", "--limit", "1000000")


def refuse_unsettled(stand: Stand, requests: Mapping[str, int]) -> None:
    """Raises Failed unless every request to a gateway of ours has one settled record, and its answer an owner."""
    sent, states = requests.get(OURS, 0) + requests.get(PAIR, 0), stand.records()
    if states != {"settled": sent, "owned": sent}:
        raise Failed(
            f"{sent} requests were sent, and what is known of them is {states}: all should be settled and owned."
        )


def _manage(*words: str) -> dict[str, Any]:
    command = [sys.executable, "manage.py", *words, "--json"]
    done = subprocess.run(command, cwd=BASE, check=True, stdout=subprocess.PIPE)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def free_port() -> int:
    with socket.create_server((HOST, 0)) as server:
        port: int = server.getsockname()[1]
        return port


def accepts(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True
