"""The parts of one instance on one machine, in the order in which they start: what `up` and `demo` run."""

import shutil
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.local.embedded import PostgresServer, ValkeyServer
from gateway.local.listener import answers
from gateway.local.processes import Service

MARGIN_SECONDS = 15.0  # after the drain: settling what is left, closing


@dataclass(frozen=True, slots=True)
class Instance:
    """Where it lives and what it serves on. Parts that are configured elsewhere are not started here."""

    base: Path  # of the project
    var: Path
    has_own_database: bool
    has_own_valkey: bool
    listener: socket.socket
    host_header: str
    broker_url: str  # in Celery's form
    public_url: str
    workers: int
    is_production: bool
    shutdown_seconds: float

    def stages(self) -> list[list[Service]]:
        """Database and Valkey, then the tables, then the jobs, then the gateway."""
        servers = [
            *([PostgresServer(self.var).service()] if self.has_own_database else []),
            *([ValkeyServer(self.var).service()] if self.has_own_valkey else []),
        ]
        return [servers, [self._migrate(), *self._static_files()], [self._worker()], self._gateways()]

    def _migrate(self) -> Service:
        return self._python("migrate", ["manage.py", "migrate", "--noinput", "--verbosity", "0"], once=True)

    def _static_files(self) -> list[Service]:
        """Production serves them under names that carry their content's hash; else they are found where they lie."""
        words = ["manage.py", "collectstatic", "--noinput", "--verbosity", "0"]
        return [self._python("static files", words, once=True)] if self.is_production else []

    def _worker(self) -> Service:
        words = "-m celery -A gateway.celery worker -B --pool threads --concurrency 2 --loglevel INFO"
        quiet = "--without-gossip --without-mingle --without-heartbeat"
        return self._python(
            "Celery worker with beat",
            [*words.split(), *quiet.split()],
            ready_text=" ready.",
            env={"BROKER_URL": self.broker_url},
        )

    def _gateways(self) -> list[Service]:
        metrics = self.var / "metrics"
        shutil.rmtree(metrics, ignore_errors=True)
        metrics.mkdir(mode=0o700, parents=True)
        return [
            self._gateway(f"gateway {number}" if self.workers > 1 else "gateway", metrics)
            for number in range(1, self.workers + 1)
        ]

    def _gateway(self, name: str, metrics: Path) -> Service:
        words = "-m uvicorn gateway.asgi:application --lifespan on --ws none --loop uvloop --http httptools"
        quiet = "--no-access-log --no-server-header --no-proxy-headers --timeout-keep-alive 75"
        bounds = f"--fd {self.listener.fileno()} --timeout-graceful-shutdown {round(self.shutdown_seconds)}"
        return self._python(
            name,
            [*words.split(), *quiet.split(), *bounds.split()],
            env={"PROMETHEUS_MULTIPROC_DIR": str(metrics), "PUBLIC_URL": self.public_url},
            pass_fds=(self.listener.fileno(),),
            ready=lambda: answers(self.listener, "/readyz", self.host_header),
            ready_text="Application startup complete",
            stop_deadline=self.shutdown_seconds + MARGIN_SECONDS,
        )

    def _python(
        self,
        name: str,
        arguments: list[str],
        *,
        env: Mapping[str, str] | None = None,
        **fields: object,
    ) -> Service:
        log = self.var / "log" / f"{name.partition(' with')[0].replace(' ', '-').lower()}.log"
        return Service(
            name=name,
            argv=[sys.executable, *arguments],
            log=log,
            cwd=self.base,
            env={"DJANGO_SETTINGS_MODULE": "gateway.settings", **(env or {})},
            orphan_signal=signal.SIGTERM,
            **fields,  # type: ignore[arg-type]
        )
