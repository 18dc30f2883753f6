"""Whether this process lives, whether it can serve, and what it counted."""

import hmac
from collections.abc import Callable

import redis
from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse

from gateway.metrics import CONTENT_TYPE, exposition

ANSWER_SECONDS = 1.0

View = Callable[[HttpRequest], HttpResponseBase]


def answer_machines(get_response: View) -> View:
    """Middleware that answers probes before anything asks for a host name, https, or a session."""
    views: dict[str, View] = {"/healthz": healthz, "/readyz": readyz, "/metrics": metrics}

    def answer(request: HttpRequest) -> HttpResponseBase:
        return views.get(request.path_info, get_response)(request)

    return answer


def healthz(request: HttpRequest) -> HttpResponse:
    """The process answers; says nothing of what it depends on, so that nobody restarts it for a database's sake."""
    return HttpResponse("ok\n", "text/plain")


def readyz(request: HttpRequest) -> JsonResponse:
    """Whether requests can be served: the database and Valkey answer. 503 where one does not."""
    parts = {"database": _database_answers(), "valkey": _valkey_answers()}
    return JsonResponse(parts, status=200 if all(parts.values()) else 503)


def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus text, for whoever has METRICS_TOKEN."""
    expected = f"Bearer {settings.METRICS_TOKEN}"
    given = request.headers.get("authorization", "")
    if not settings.METRICS_TOKEN or not hmac.compare_digest(given.encode(), expected.encode()):
        return HttpResponse("Set METRICS_TOKEN and send it as a bearer token.\n", "text/plain", 401)
    return HttpResponse(exposition(), CONTENT_TYPE)


def _database_answers() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM accounts_revision")
            return cursor.fetchone() is not None
    except DatabaseError:
        return False


def _valkey_answers() -> bool:
    try:
        with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=ANSWER_SECONDS) as valkey:
            return bool(valkey.ping())
    except redis.RedisError:
        return False
