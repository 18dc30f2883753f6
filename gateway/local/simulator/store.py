"""What the upstream stores: each account's responses with the input they were made from, until too many are newer."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from gateway.local.simulator.input_list import Item, listed
from gateway.local.simulator.reply import Reply

STORED_RESPONSES = 10_000
STORED_BYTES = 256 * 1024 * 1024

Name = tuple[str, str]  # account and response id


class Stored(msgspec.Struct, frozen=True):
    """A response as it is now, and the items it is made from, oldest first."""

    response: dict[str, Any]
    input: list[Item]


class Running:
    """A response that is being made."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self.input = listed(reply.body)

    def shown(self) -> Stored:
        return Stored(self._reply.opening(), self.input)


class Store:
    """An account is an API key. Bounded by number and by bytes for all accounts together; the oldest go first."""

    def __init__(self, most: int = STORED_RESPONSES, most_bytes: int = STORED_BYTES) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._running: dict[Name, Running] = {}
        self._ended: OrderedDict[Name, bytes] = OrderedDict()
        self._bytes = 0

    @contextmanager
    def running(self, account: str, reply: Reply) -> Iterator[None]:
        """While it lasts the response is in progress, unless it is not to be stored. Nothing is kept without `end`."""
        name = (account, reply.id)
        if reply.body.get("store") is not False:
            self._running[name] = Running(reply)
        try:
            yield
        finally:
            self._running.pop(name, None)

    def end(self, account: str, response: dict[str, Any]) -> None:
        """Keeps the object of a terminal event; of two with the same id the first."""
        name = (account, response.get("id", ""))
        running = self._running.get(name)
        if running is None or name in self._ended:
            return
        kept = msgspec.json.encode(Stored(response, running.input))
        self._ended[name] = kept
        self._bytes += len(kept)
        while len(self._ended) > self._most or (self._bytes > self._most_bytes and len(self._ended) > 1):
            self._forget(next(iter(self._ended)))

    def find(self, account: str, response_id: str) -> Stored | None:
        name = (account, response_id)
        if name in self._ended:
            return msgspec.json.decode(self._ended[name], type=Stored)
        running = self._running.get(name)
        return running.shown() if running else None

    def delete(self, account: str, response_id: str) -> bool:
        """Whether there was such a response. One that is being made is not kept at its end."""
        name = (account, response_id)
        if name in self._ended:
            self._forget(name)
            self._running.pop(name, None)
            return True
        return self._running.pop(name, None) is not None

    def _forget(self, name: Name) -> None:
        self._bytes -= len(self._ended.pop(name))
