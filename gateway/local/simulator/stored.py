"""The responses that can be asked for by their id: those being made, and those that ended lately."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from gateway.local.simulator.reply import Reply
from gateway.local.simulator.sent import Sent


class Stored:
    """Of a response whose client left, or that broke off, nothing is kept. What is kept is bounded as `Sent` is."""

    def __init__(self) -> None:
        self._running: dict[str, Reply] = {}
        self._ended = Sent()

    @contextmanager
    def running(self, reply: Reply) -> Iterator[None]:
        """While it lasts, the response is in progress, or ended; unless it is not to be stored."""
        if reply.body.get("store") is not False:
            self._running[reply.id] = reply
        try:
            yield
        finally:
            self._running.pop(reply.id, None)

    def end(self, number: int, response: dict[str, Any]) -> None:
        """Keeps the object of a terminal event, the first one of request `number`."""
        response_id = response.get("id", "")
        if response_id in self._running and self._ended.find(response_id) is None:
            self._ended.keep(number, msgspec.json.encode(response), [response_id])

    def find(self, response_id: str) -> bytes | None:
        """The response as JSON; None where it is not known."""
        ended = self._ended.find(response_id)
        if ended is not None:
            return ended
        running = self._running.get(response_id)
        return None if running is None else msgspec.json.encode(running.opening())
