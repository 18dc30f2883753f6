"""A gateway process on a port of its own, over the tests' database, started and stopped as `up` does it."""

import signal
from pathlib import Path

import httpx
from django.conf import settings

from gateway.local.instance import Instance
from gateway.local.listener import listen
from gateway.local.processes import Process, stop, wait_ready
from tests import plane_database

# A tenth of the real bounds; what has no time in it stays as shipped.
TENTHS = {
    "TOLLGATE_DRAIN_SECONDS": "3",
    "TOLLGATE_SHUTDOWN_SECONDS": "6",
    "TOLLGATE_REVISION_POLL_SECONDS": "0.1",
    "TOLLGATE_SNAPSHOT_MAX_AGE_SECONDS": "6",
    "TOLLGATE_KEY_USE_FLUSH_SECONDS": "1",
    "TOLLGATE_UPSTREAM_READ_SECONDS": "60",
    "TOLLGATE_UPSTREAM_MODELS_SECONDS": "30",
    "TOLLGATE_HEARTBEAT_SECONDS": "0.5",
    "TOLLGATE_RECOVERY_SECONDS": "1",
    "TOLLGATE_AUDIT_SECONDS": "6",
    "TOLLGATE_PROGRESS_SECONDS": "1",
}


class GatewayProcess:
    """`url` is the base URL for clients, `log` what it wrote."""

    def __init__(self, folder: Path, *, tenths=True, application="", **bounds: str):
        """`bounds` are settings; those that are not given are a tenth of the real ones, or the real ones.
        `application`: a test's own instead of the gateway's.
        """
        self._listener = listen("127.0.0.1", 0)
        self.origin = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.url = f"{self.origin}/v1"
        instance = Instance(
            base=settings.BASE_DIR, var=folder, has_own_database=False, has_own_valkey=False,
            listener=self._listener, host_header="localhost", broker_url="", public_url="http://127.0.0.1:8000",
            workers=1, is_production=False, shutdown_seconds=6,
        )  # fmt: skip
        ((service,),) = [stage for stage in instance.stages() if stage and stage[0].name == "gateway"]
        environment = {
            **(TENTHS if tenths else {}),
            "DATABASE_URL": plane_database.url(),
            "METRICS_TOKEN": "metrics",
            **bounds,
        }
        argv = [application or word if word == "gateway.asgi:application" else word for word in service.argv]
        self._service = type(service)(**{**_fields(service), "argv": argv, "env": {**service.env, **environment}})
        self.process: Process | None = None

    def __enter__(self):
        if self.process is None:
            self.start()
        wait_ready([self.process])
        return self

    def start(self):
        """Returns before it is ready."""
        self.process = Process.start(self._service)

    def __exit__(self, *_):
        stop([self.process])
        self._listener.close()

    @property
    def log(self):
        return self._service.log.read_text()

    def metric(self, name, **labels):
        """A figure of /metrics, 0 while nothing was counted."""
        text = httpx.get(f"{self.origin}/metrics", headers={"Authorization": "Bearer metrics"}).text
        wanted = name + "{" + ",".join(f'{label}="{value}"' for label, value in labels.items()) + "}"
        return next((float(line.split()[-1]) for line in text.split("\n") if line.startswith(wanted)), 0.0)

    def terminate(self):
        """SIGTERM, as a deploy sends it; returns at once."""
        self.process.signal(signal.SIGTERM)

    def kill(self):
        self.process.signal(signal.SIGKILL)


def _fields(service):
    return {name: getattr(service, name) for name in service.__dataclass_fields__}
