"""The gateway's application, counting the calls that its event loop makes: Python's and those into C.

A doubled cost on the way of a request shows in them, whatever the machine's mood; they hardly differ from run to run.
"""

import sys

from gateway.asgi import application as gateway

PATH = "/calls"
made = 0


def _count(frame, event, argument):
    global made
    if event in {"call", "c_call"}:
        made += 1


async def application(scope, receive, send):
    """As the gateway's; GET /calls says how many there were since it started."""
    if scope["type"] == "lifespan":
        sys.setprofile(_count)
    if scope.get("path") != PATH:
        await gateway(scope, receive, send)
        return
    body = str(made).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
