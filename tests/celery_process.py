"""Celery's worker with beat, over the tests' database and broker, as `up` runs it."""

from pathlib import Path

from django.conf import settings

from gateway.local.instance import Instance
from gateway.local.listener import listen
from gateway.local.processes import Process, stop, wait_ready
from tests import plane_database


class CeleryProcess:
    """`bounds` are settings."""

    def __init__(self, folder: Path, **bounds: str):
        with listen("127.0.0.1", 0) as unused:
            instance = Instance(
                base=settings.BASE_DIR, var=folder, has_own_database=False, has_own_valkey=False, listener=unused,
                host_header="localhost", broker_url=settings.CELERY_BROKER_URL, public_url="http://127.0.0.1:8000",
                workers=1, is_production=False, shutdown_seconds=6,
            )  # fmt: skip
            services = [service for stage in instance.stages() for service in stage]
        (service,) = [service for service in services if "Celery" in service.name]
        environment = {"DATABASE_URL": plane_database.url(), "TOLLGATE_VAR": str(folder), **bounds}
        fields = {name: getattr(service, name) for name in service.__dataclass_fields__}
        self._service = type(service)(**{**fields, "env": {**service.env, **environment}})
        self.process: Process | None = None

    def __enter__(self):
        self.start()
        wait_ready([self.process])
        return self

    def start(self):
        """Returns before it is ready."""
        self.process = Process.start(self._service)

    def __exit__(self, *_):
        stop([self.process])

    @property
    def log(self):
        return self._service.log.read_text()
