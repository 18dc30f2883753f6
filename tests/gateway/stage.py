"""The relay on a stage of its own: an upstream that follows a script, a client that does what it is told, the books."""

import asyncio
import contextlib
import json
import time
import types

from billing.prices.pricing import PriceSheet, TokenPrice
from billing.record import Admitted
from gateway import sealing
from gateway.addresses import origin_of
from gateway.catalog import RouteFacts, UpstreamFacts
from gateway.upstream.exchange import Call, start
from gateway.upstream.outcome import Outcome
from gateway.upstream.relay import Drains, Relay
from gateway.upstream.transport import UpstreamTransport

WINDOW = 1_000_000  # tokens
PRICE = PriceSheet.of(
    TokenPrice(input=1_000_000, cached_input=100_000, cache_write=1_000_000, output=10_000_000),
    [("priority", 0, TokenPrice(input=2_000_000, cached_input=200_000, cache_write=2_000_000, output=20_000_000))],
    {"web_search": 10_000_000_000},
)
MAX_BYTES = 1024 * 1024
SSE = b"text/event-stream"


def event(kind, number, **fields):
    data = json.dumps({"type": kind, "sequence_number": number, **fields})
    return f"event: {kind}\ndata: {data}\n\n".encode()


def created(tier="auto"):
    answer = {"id": "resp_1", "model": "m", "status": "in_progress", "usage": None, "service_tier": tier}
    return event("response.created", 0, response=answer)


def delta(number, text="word "):
    return event("response.output_text.delta", number, delta=text)


def response(read=100, written=10, **fields):
    usage = {"input_tokens": read, "output_tokens": written, "total_tokens": read + written}
    return {"id": "resp_1", "model": "m", "status": "completed", "output": [], "usage": usage, **fields}


def completed(number=9, **fields):
    return event("response.completed", number, response=response(**fields))


class Upstream:
    """Answers each connection by the script `play(send)`: pieces of the body, as they are sent."""

    def __init__(self, play, *, kind=SSE, closes=True):
        self._play, self._kind, self._closes = play, kind, closes
        self.asked = []
        self.sent_bytes = 0
        self.finished = asyncio.Event()
        self._tasks = set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader, writer):
        self._tasks.add(asyncio.current_task())

        async def send(data):
            writer.write(data)
            await writer.drain()
            self.sent_bytes += len(data)

        over = (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError)
        with contextlib.suppress(*over), contextlib.closing(writer.transport):
            head = await reader.readuntil(b"\r\n\r\n")
            self.asked.append(head)
            await send(b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\nconnection: close\r\n\r\n" % self._kind)
            await self._play(send)
            if not self._closes:
                await reader.read()  # until the other side does
        self.finished.set()


def saying(*pieces):
    """The script that sends these, each to be read on its own."""

    async def play(send):
        for piece in pieces:
            await send(piece)
            await asyncio.sleep(0.003)

    return play


class Listener:
    """A client that keeps what it gets, takes it only while `takes` is set, and may leave."""

    def __init__(self, *, leaves_after=None):
        self.status = None
        self.pieces = []
        self.ended = False
        self.is_gone = False
        self.takes = asyncio.Event()
        self.takes.set()
        self.waits = asyncio.Event()  # something is there that it does not take
        self._leaves_after = leaves_after
        self._act = lambda: None

    @property
    def received(self):
        return b"".join(self.pieces)

    async def takes_one(self):
        """Waits for a piece and takes it, and no other."""
        await self.waits.wait()
        self.waits.clear()
        self.takes.set()
        await asyncio.sleep(0)
        self.takes.clear()

    def has_left(self):
        return self.is_gone

    def when_gone(self, act):
        self._act = act
        if self._leaves_after == 0:
            self.leave()

    def leave(self):
        self.is_gone = True
        self._act()
        self._act()

    async def start(self, status, headers):
        self.status = status

    async def send(self, data):
        if self.is_gone:
            return
        if not self.takes.is_set():
            self.waits.set()
            await self.takes.wait()
        self.pieces.append(data)
        await asyncio.sleep(0)
        if self._leaves_after == len(self.pieces):
            self.leave()

    async def end(self, data=b""):
        if data and not self.is_gone:
            self.pieces.append(data)
        self.ended = True


class Stage:
    """One request over and over: `play` holds it, sends it upstream and passes the answer on."""

    def __init__(self, meter, books, upstream, *, drains=None, keepalive_seconds=0.0, key=None):
        self.meter, self.books, self.upstream = meter, books, upstream
        self.drains = drains or Drains(seconds=5, output_tokens=2000, most=64)
        self._keepalive_seconds = keepalive_seconds
        self._transport = UpstreamTransport(connect_seconds=5, read_seconds=5, most_connections=100)
        origin = origin_of(upstream.url, allow_private=True)
        upstream_id = self.books.hold().upstream_id
        sealed = key and sealing.seal(key, f"gateway_upstream:{upstream_id}".encode())
        facts = UpstreamFacts(upstream_id, "scripted", upstream.url, origin, sealed)
        self._route = RouteFacts(facts, "")

    async def play(self, client, hold=None, claim=None):
        hold = hold or self.books.hold()
        await self.meter.hold(hold)
        outcome = Outcome(Admitted(hold, PRICE, context_window=WINDOW), self.meter, time.monotonic(), claim)
        call = Call(path="/responses", body=b"{}", request_id=str(hold.id).encode(), stream=True)
        relay = Relay(outcome, self.drains, MAX_BYTES, self._keepalive_seconds)
        await relay.run(lambda sent: start(self._transport, self._route, call, sent), client)

    async def close(self):
        await self._transport.aclose()


async def cancelled_at(number, coroutine):
    """Runs `coroutine`; where it waits for the `number`-th time, its task is cancelled. True where it was."""
    return await _cancelled_at(number, coroutine)


@types.coroutine
def _cancelled_at(number, coroutine):
    waits = 0
    try:
        waited_for = coroutine.send(None)
        while True:
            if waits == number:
                asyncio.current_task().cancel()
            waits += 1
            try:
                result = yield waited_for
            except BaseException as error:
                waited_for = coroutine.throw(error)
            else:
                waited_for = coroutine.send(result)
    except StopIteration:
        return waits > number
