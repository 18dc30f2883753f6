"""The ASGI application: /v1 goes to the data plane, all else to stock Django."""

import logging
import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway.settings")
console = get_asgi_application()

from gateway.client import Receive, Send  # noqa: E402 - needs Django set up
from gateway.dataplane import DataPlane  # noqa: E402
from gateway.request import Scope  # noqa: E402

logger = logging.getLogger(__name__)
data_plane = DataPlane()


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
    elif scope["path"].startswith("/v1/") or scope["path"] == "/v1":
        await data_plane(scope, receive, send)
    else:
        await console(scope, receive, send)


async def _lifespan(receive: Receive, send: Send) -> None:
    await receive()
    try:
        await data_plane.start()
    except Exception as error:
        logger.exception("the gateway cannot start")
        await send({"type": "lifespan.startup.failed", "message": str(error)})
        return
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await data_plane.close()
    await send({"type": "lifespan.shutdown.complete"})
