"""The gateway's application, counting the calls that its event loop makes: Python's and those into C.

A doubled cost on the way of a request shows in them, whatever the machine's mood; they hardly differ from run to run.
"""

import sys
from collections import Counter

from gateway.asgi import application as gateway

PATH = "/calls"
made = Counter()


def _count(frame, event, argument):
    made[event] += 1


async def application(scope, receive, send):
    """As the gateway's; GET /calls says how many there were since it started."""
    if scope["type"] == "lifespan":
        sys.setprofile(_count)
    if scope.get("path") != PATH:
        await gateway(scope, receive, send)
        return
    body = str(made["call"] + made["c_call"]).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
