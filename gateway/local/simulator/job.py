"""A response that is made in the background: nobody has to listen, and whoever does may come later."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from gateway.local.simulator.exchange import is_terminal
from gateway.local.simulator.holds import Holds
from gateway.local.simulator.reply import Reply
from gateway.local.simulator.steps import Event, Hold, Steps, Unterminated, Wait

SERVER_ERROR = {"code": "server_error", "message": "The server had an error while processing your request."}


class Job:
    """`events` are those of its stream so far, `response` the object it ended with."""

    def __init__(self, reply: Reply, names: set[str]) -> None:
        self.reply = reply
        self.events: list[Event] = []
        self.response: dict[str, Any] | None = None
        self._names = names
        self._is_over = False
        self._changed = asyncio.Event()

    async def run(self, steps: Steps, holds: Holds) -> None:
        """Plays the steps to the first terminal event; an answer that breaks before one has failed."""
        for step in steps:
            event = step.step if isinstance(step, Unterminated) else step
            if isinstance(event, Wait):
                await asyncio.sleep(event.seconds)
            elif isinstance(event, Hold):
                await holds.hold(self._names, event.seconds)
            elif isinstance(event, dict):
                self._add(event)
            if self.response:
                return
        response = self.reply.ending("failed", error=SERVER_ERROR)
        self._add({"type": "response.failed", "sequence_number": 0, "response": response})

    def end(self, response: dict[str, Any] | None = None) -> None:
        """Nothing follows; with `response` that is what it ended with, though no event says so."""
        self.response = self.response or response
        self._is_over = True
        self._tell()

    async def follow(self, after: int = -1) -> AsyncIterator[Event]:
        """The events with a sequence number above `after`, as they come."""
        place = after + 1
        while True:
            changed = self._changed
            for event in self.events[place:]:
                yield event
                place += 1
            if self._is_over and place >= len(self.events):
                return
            if place >= len(self.events):
                await changed.wait()

    def _add(self, event: Event) -> None:
        self.events.append({**event, "sequence_number": len(self.events)})
        if is_terminal(event):
            self.response = event.get("response", event)
        self._tell()

    def _tell(self) -> None:
        told, self._changed = self._changed, asyncio.Event()
        told.set()
