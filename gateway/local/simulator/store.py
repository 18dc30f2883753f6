"""What the upstream stores: each account's responses with the input they were made from, until too many are newer."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import msgspec

from gateway.local.simulator.input_list import Item
from gateway.local.simulator.reply import Reply

STORED_RESPONSES = 10_000
STORED_BYTES = 256 * 1024 * 1024

Name = tuple[str, str]  # account and the id of a response or of an item


class Stored(msgspec.Struct, frozen=True):
    """A response as it is now; the items it is made from, oldest first; the tokens that a next one has to read."""

    response: dict[str, Any]
    input: list[Item]
    tokens: int

    def context(self) -> list[Item]:
        """What a response that continues this one reads first."""
        return [*self.input, *self.response["output"]]


class Read(Protocol):
    """What a response is made from: all of it, and what its own request brought."""

    @property
    def all(self) -> list[Item]: ...

    @property
    def own(self) -> list[Item]: ...


class Running(NamedTuple):
    """A response that is being made."""

    reply: Reply
    read: Read

    def stored(self, response: dict[str, Any]) -> Stored:
        return Stored(response, self.read.all, self.reply.context_tokens())


class Kept(NamedTuple):
    """A stored response as JSON, so that its size is known, and the items that came with it."""

    stored: bytes
    items: list[str]


class Store:
    """An account is an API key. Bounded by number and by bytes for all accounts together; the oldest go first."""

    def __init__(self, most: int = STORED_RESPONSES, most_bytes: int = STORED_BYTES) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._running: dict[Name, Running] = {}
        self._ended: OrderedDict[Name, Kept] = OrderedDict()
        self._items: dict[Name, Name] = {}
        self._bytes = 0

    @contextmanager
    def running(self, account: str, reply: Reply, read: Read) -> Iterator[None]:
        """While it lasts the response is in progress, unless it is not to be stored. Nothing is kept without `end`."""
        self.begin(account, reply, read)
        try:
            yield
        finally:
            self.leave(account, reply)

    def begin(self, account: str, reply: Reply, read: Read) -> None:
        if reply.is_stored:
            self._running.setdefault((account, reply.id), Running(reply, read))

    def leave(self, account: str, reply: Reply) -> None:
        name = (account, reply.id)
        if name in self._running and self._running[name].reply is reply:
            del self._running[name]

    def end(self, account: str, reply: Reply, response: dict[str, Any]) -> None:
        """Keeps the object of a terminal event; of two with the same id the first."""
        name = (account, response.get("id", ""))
        running = self._running.get(name)
        if running is None or running.reply is not reply or name in self._ended:
            return
        items = [item["id"] for item in [*running.read.own, *response["output"]]]
        kept = Kept(msgspec.json.encode(running.stored(response)), items)
        self._ended[name] = kept
        self._bytes += len(kept.stored)
        for item_id in items:
            self._items.setdefault((account, item_id), name)
        while len(self._ended) > self._most or (self._bytes > self._most_bytes and len(self._ended) > 1):
            self._forget(next(iter(self._ended)))

    def find(self, account: str, response_id: str) -> Stored | None:
        name = (account, response_id)
        if name in self._ended:
            return msgspec.json.decode(self._ended[name].stored, type=Stored)
        running = self._running.get(name)
        return running.stored(running.reply.opening()) if running else None

    def item(self, account: str, item_id: str) -> Item | None:
        """An item of a stored response's output, or of the input it was given."""
        name = self._items.get((account, item_id))
        stored = self.find(*name) if name else None
        return next((item for item in stored.context() if item["id"] == item_id), None) if stored else None

    def delete(self, account: str, response_id: str) -> bool:
        """Whether there was such a response. One that is being made is not kept at its end."""
        name = (account, response_id)
        if name in self._ended:
            self._forget(name)
            self._running.pop(name, None)
            return True
        return self._running.pop(name, None) is not None

    def _forget(self, name: Name) -> None:
        kept = self._ended.pop(name)
        self._bytes -= len(kept.stored)
        for item_id in kept.items:
            if self._items.get((name[0], item_id)) == name:
                del self._items[name[0], item_id]
