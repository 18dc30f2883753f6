import asyncio

import uvloop


def pytest_asyncio_loop_factories():
    """What speaks upstream is tested on the loop that serves and on Python's own: they differ in small things."""
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
