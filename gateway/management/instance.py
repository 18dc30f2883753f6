"""The instance that the settings describe, for the commands that run one."""

import os
import socket

from django.conf import settings

from gateway.local.instance import Instance

PASSWORD_FILE = settings.TOLLGATE_VAR / "admin-password"


def configured_instance(listener: socket.socket, workers: int) -> Instance:
    """What `DATABASE_URL` and `REDIS_URL` name is used; what they do not is run here."""
    return Instance(
        base=settings.BASE_DIR,
        var=settings.TOLLGATE_VAR,
        has_own_database=settings.EMBEDDED,
        has_own_valkey=not os.environ.get("REDIS_URL"),
        listener=listener,
        broker_url=settings.CELERY_BROKER_URL,
        host_header=settings.ALLOWED_HOSTS[0],
        public_url=settings.PUBLIC_URL if os.environ.get("PUBLIC_URL") else url_of(listener),
        workers=workers,
        is_production=settings.PRODUCTION,
        shutdown_seconds=settings.SHUTDOWN_SECONDS,
    )


def url_of(listener: socket.socket) -> str:
    """Where people reach it from this machine."""
    host, port = listener.getsockname()[:2]
    reachable = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 - shown, not listened on
    return f"http://{reachable}:{port}"
