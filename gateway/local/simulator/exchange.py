"""One request and the bytes that answer it: writes them as HTTP/1.1 and remembers what was sent."""

import asyncio
from collections.abc import Callable
from hashlib import sha256
from http import HTTPStatus
from typing import Any

import msgspec

from gateway.local.simulator.connection import Connection
from gateway.local.simulator.endpoints import asked_for
from gateway.local.simulator.errors import Refusal
from gateway.local.simulator.identity import answer_headers
from gateway.local.simulator.request import Request
from gateway.local.simulator.sent import KEPT_BYTES
from gateway.local.simulator.steps import CutWay, Event
from gateway.local.simulator.usages import ABSENT

ENDINGS = {"response.completed": "completed", "response.incomplete": "incomplete", "response.failed": "failed"}


def is_terminal(event: Event) -> bool:
    """A Responses stream's ending; in chat form the whole object, or the chunk without choices."""
    if event.get("type") in ENDINGS:
        return True
    return event.get("object") == "chat.completion" or event.get("choices") == []


def _says_something(chunk: Event) -> bool:
    choices = chunk.get("choices") or [{}]
    return bool(choices[0].get("delta", {}).get("content"))


class Exchange:
    """`ending` is how it went: completed, incomplete, failed, refused, unfinished, cut, client_gone or stopped.

    `is_billable` is true once a model was put to work for it. `when_ended` is told the response object of each
    terminal event.
    """

    def __init__(self, connection: Connection, request: Request, number: int) -> None:
        self.connection = connection
        self.request = request
        self.asked = asked_for(request.method, request.path)
        self.account = request.bearer or ""  # whose things are asked for: an API key is an account
        self.number = number
        self.is_billable = False
        self.status: int | None = None
        self.response_id: str | None = None
        self.events = 0
        self.deltas = 0
        self.usage: object = ABSENT
        self.ending = "unfinished"
        self.body = bytearray()  # as far as it is kept: of one beyond the bound nothing
        self.bytes = 0
        self.digest = sha256()
        self.keeps_open = True
        self.when_ended: Callable[[Event], None] = lambda response: None
        self._head = b""
        self._chunked = False

    @property
    def endpoint(self) -> str | None:
        return None if isinstance(self.asked, Refusal) else self.asked.endpoint

    @property
    def logged_account(self) -> str | None:
        return "sha256:" + sha256(self.account.encode()).hexdigest() if self.account else None

    async def answer(self, status: int, body: bytes, content_type: str = "application/json", more: str = "") -> None:
        """A whole answer with a known length."""
        self.head(status, content_type, more, length=len(body))
        await self.send(body)
        await self.finish()

    async def show(self, body: dict[str, Any]) -> None:
        """An object, as JSON."""
        self.ending = "completed"
        await self.answer(200, msgspec.json.encode(body))

    async def refuse(self, refusal: Refusal) -> None:
        more = "".join(f"{name}: {value}\r\n" for name, value in refusal.headers)
        self.ending = "refused"
        await self.answer(refusal.status, refusal.body, refusal.content_type, more)

    def head(self, status: int, content_type: str, more: str = "", length: int | None = None) -> None:
        """Status and headers; they leave with the first bytes of the body. No length means chunks."""
        self.status = status
        self._chunked = length is None
        size = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
        self._head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: {content_type}\r\n{size}\r\n"
            f"{answer_headers()}{more}\r\n"
        ).encode()

    async def send(self, data: bytes) -> None:
        self._remember(data)
        if self._chunked and data:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        head, self._head = self._head, b""
        await self.connection.write(head + data)

    def _remember(self, data: bytes) -> None:
        self.bytes += len(data)
        self.digest.update(data)
        if self.bytes <= KEPT_BYTES:
            self.body += data
        else:
            self.body.clear()

    async def finish(self) -> None:
        if self._chunked:
            head, self._head = self._head, b""
            await self.connection.write(head + b"0\r\n\r\n")

    async def cut(self, way: CutWay) -> None:
        """End it badly, after what was sent so far has left."""
        await self.send(b"")
        self.ending = "cut"
        self.keeps_open = False
        await self.connection.flush()
        if way == "reset":
            await self.connection.reset()
        elif way == "stall":
            await asyncio.get_running_loop().create_future()
        elif way == "badchunk":
            await self.connection.write(b"none\r\n")

    def note(self, event: Event) -> None:
        """Count an event that is sent; a terminal one says how it went and what it cost."""
        self.events += 1
        if "delta" in event or _says_something(event):
            self.deltas += 1
        elif is_terminal(event):
            self.note_end(event)

    def note_end(self, event: Event) -> None:
        response = event.get("response", event)
        self.ending = ENDINGS.get(event.get("type", ""), "completed")
        usage = response.get("usage", ABSENT)
        if usage is not ABSENT:
            self.usage = usage
        self.when_ended(response)

    def logged(self) -> dict[str, Any]:
        """What the log says of the answer, save the bytes' digest; where no usage was reported, the key is absent."""
        logged = {
            "endpoint": self.endpoint,
            "account": self.logged_account,
            "billable": self.is_billable,
            "status": self.status,
            "response_id": self.response_id,
            "events": self.events,
            "deltas": self.deltas,
            "bytes": self.bytes,
            "ending": self.ending,
        }
        return logged if self.usage is ABSENT else logged | {"usage": self.usage}
