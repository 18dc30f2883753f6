"""From an answer that has begun to its end: the bytes go to the client, the meter reads beside.

The order at the end is the product's promise: the ending is read, the record is settled, and only then does the ending
reach the client. A client that leaves changes only who is served: the answer is read on within bounds (`Drains`), then
cut. Cut reads raise TimeoutError here, upstream faults UpstreamFailed, a stopping server CancelledError.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from billing import faults
from gateway.upstream.client import Client, Headers
from gateway.upstream.exchange import Exchange
from gateway.upstream.failures import Broken, Repeated, TooLarge, Unreadable, UpstreamFailed, Withheld
from gateway.upstream.keepalive import KeptAlive
from gateway.upstream.unbilled import Ending
from gateway.wire.endings import ending_of_ours
from gateway.wire.following import nothing_new_of, up_to_ending
from gateway.wire.stream import EventSplitter, EventTooLarge, events_of, has_data
from gateway.wire.tap import Tap, is_whole, read_answer
from gateway.wire.usage import events_with_responses_keys, with_responses_keys

SECONDS_AFTER_THE_ENDING = 5.0
MOST_COMMENT_BYTES = 64 * 1024  # before the first event; they are kept, and looked through with each more that comes
SHUTDOWN = "The gateway is being restarted. Please send the request again."
BROKE = "The upstream ended the stream before it was complete."

PASSED_ON = ("openai-processing-ms", "openai-version")  # of the upstream's headers, to the client
PLAIN = re.compile(r"[0-9.-]{1,20}")  # milliseconds and dates: nothing that could name our account
STREAM_HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no")]

# Goes upstream; what it is given is called before the first byte leaves.
Begin = Callable[[Callable[[], None]], Awaitable[Exchange]]


@dataclass(slots=True)
class Drains:
    """How long, for how many more deltas, and how many answers of one process at once are read on for nobody."""

    seconds: float
    output_tokens: int
    most: int
    running: int = 0


class Relay:
    """One request: goes upstream, and its answer to the client."""

    def __init__(self, outcome: Ending, drains: Drains, max_bytes: int, keepalive_seconds: float = 0.0) -> None:
        """`max_bytes` bounds a plain answer and each event of a stream; `keepalive_seconds` a stream's silence."""
        self._outcome = outcome
        self._drains = drains
        self._max_bytes = max_bytes
        self._keepalive_seconds = keepalive_seconds
        self._client: Client  # once it runs
        self._kept_alive: KeptAlive | None = None  # the same, of a stream
        self._exchange: Exchange | None = None
        self._splitter = EventSplitter(max_bytes)
        self._tap = Tap()
        self._shown, self._shown_id = self._tap, ""  # what it had seen before the last block, and the answer's id then
        self._before_first_event = b""
        self._has_begun = False  # our answer to the client
        self._is_ended = False  # with the upstream's own ending
        self._deadline = asyncio.timeout(None)  # of a drain
        self._closes_by: float | None = None  # the loop's time by which the upstream should close after its ending
        self._is_draining = False
        self._drained_from = 0  # deltas seen when the client left

    async def run(self, begin: Begin, client: Client) -> None:
        """All of it, to the last byte. Raises UpstreamFailed only while nothing has been sent to the client."""
        self._client = client
        try:
            async with self._deadline:
                client.when_gone(self._drain)
                await self._outcome.dispatch()
                self._exchange = await begin(self._outcome.sent)
                del begin  # and with it the request's body
                faults.reach("answer.begun")
                await self._pass_on(self._exchange)
        except TimeoutError:
            await self._cut()
        except Withheld as failure:
            await self._withhold(failure)
        except UpstreamFailed as failure:
            await self._break_off(failure)
        except asyncio.CancelledError:
            await self._stop()
            raise
        finally:
            if self._kept_alive is not None:
                self._kept_alive.release()
            self._abandon()
            if self._is_draining:
                self._drains.running -= 1
            if self._exchange is not None:
                self._exchange.close()

    async def _pass_on(self, exchange: Exchange) -> None:
        """By what the upstream sends, not by what was asked: `stream` is its to obey."""
        self._outcome.upstream_request_id = exchange.headers.get("x-request-id", "")
        if exchange.is_stream:
            await self._pass_stream(exchange)
        else:
            await self._pass_body(exchange)

    async def _pass_body(self, exchange: Exchange) -> None:
        body = exchange.restored(await exchange.read(self._max_bytes))
        reading = read_answer(body)
        if reading is None:
            raise Unreadable("the answer is no JSON object")
        self._tap.reading = reading
        body = exchange.censor.answer(body)
        faults.reach("ending.read")
        if not self._client.has_left():
            self._outcome.answer_begins(200)
        await self._outcome.ended(reading, drained=self._client.is_gone)
        body = with_responses_keys(body, reading.reported_usage, "usage")
        length = (b"content-length", b"%d" % len(body))
        await self._client.start(200, [*_passed_on(exchange), (b"content-type", b"application/json"), length])
        await self._client.end(body)
        faults.reach("ending.sent")

    async def _pass_stream(self, exchange: Exchange) -> None:
        self._client = self._kept_alive = KeptAlive(self._client, self._keepalive_seconds)
        while (block := await self._next_block(exchange)) is not None:
            await self._pass_block(block, exchange)
            if self._is_draining and self._tap.delta_events - self._drained_from > self._drains.output_tokens:
                raise TimeoutError
        rest = self._splitter.close()
        if rest and is_whole(rest):
            await self._pass_block(rest, exchange)
        if self._tap.reading.ending is None:
            raise Broken("the stream ended without its ending")
        await self._client.end()

    async def _next_block(self, exchange: Exchange) -> bytes | None:
        """The next whole events. None at the end; once the ending was read, the end is not awaited for long."""
        if self._closes_by is None:
            return await self._block(exchange)
        try:
            async with asyncio.timeout_at(self._closes_by):
                return await self._block(exchange)
        except TimeoutError:
            return None

    async def _block(self, exchange: Exchange) -> bytes | None:
        try:
            while chunk := await exchange.chunk():
                if block := self._splitter.feed(chunk):
                    return block
        except EventTooLarge as error:
            raise TooLarge(str(error)) from error
        return None

    async def _pass_block(self, block: bytes, exchange: Exchange) -> None:
        """Whole events go on to the client, the stream's ending only once its record is settled.

        They are read before they are censored: what may not be passed on is paid for all the same.
        """
        block = exchange.restored(block)
        if not self._tap.events and not (block := self._beginning(block)):
            return
        block, is_ending = self._watched(block)
        if not block:
            return
        await self._outcome.opens(self._tap.reading)
        block = exchange.censor.events(block)
        if not self._has_begun and not self._client.is_gone:
            self._has_begun = True
            self._outcome.answer_begins(200)
            await self._client.start(200, [*_passed_on(exchange), *STREAM_HEADERS])
        if self._tap.has_chat_usage(block):
            block, _ = events_with_responses_keys(block, None)
        if not is_ending:
            self._outcome.watched(self._tap.reading)
            await self._client.send(block)
            faults.reach("event.passed")
            return
        faults.reach("ending.read")
        # What came in one piece with the ending waits for it: a slow reader must not stand before the books.
        await self._outcome.ended(self._tap.reading, drained=self._client.has_left())
        self._is_ended = True
        await self._client.send(block)
        faults.reach("ending.sent")
        self._closes_by = asyncio.get_running_loop().time() + SECONDS_AFTER_THE_ENDING

    def _watched(self, block: bytes) -> tuple[bytes, bool]:
        """What may leave of a block, and whether the stream's ending is in it."""
        if self._tap.reading.ending is not None:
            return nothing_new_of(block, self._tap), False
        self._shown, self._shown_id = self._tap.copied(), self._tap.reading.response_id
        start = self._tap.watch(block)
        if start is None:
            return block, False
        return up_to_ending(block, start, self._tap), True

    def _beginning(self, block: bytes) -> bytes:
        """The first event and all that came with it; empty while there are but comments: an error may be plain yet."""
        block = self._before_first_event + block
        if has_data(block):
            if not is_whole(next(filter(has_data, events_of(block)))):
                raise Unreadable("the first event is no JSON object")
            return block
        if len(block) > MOST_COMMENT_BYTES:
            raise Broken(f"no event within {MOST_COMMENT_BYTES} bytes")
        self._before_first_event = block
        return b""

    # Other ways out ----------------------------------------------------------------------------------------------

    def _drain(self) -> None:
        """The client left. Once the outcome is known there is nothing to read on for."""
        if self._is_draining or self._outcome.is_known:
            return
        has_room = self._drains.running < self._drains.most
        self._is_draining = True
        self._drains.running += 1
        self._drained_from = self._tap.delta_events
        self._deadline.reschedule(asyncio.get_running_loop().time() + (self._drains.seconds if has_room else 0))

    async def _cut(self) -> None:
        """The drain is over. An upstream that has not answered yet works all the same, and is paid."""
        await self._outcome.cut(self._tap.reading, flag="client_gone")
        await self._client.end()

    async def _break_off(self, failure: UpstreamFailed) -> None:
        """The upstream broke: a plain error while that is possible, else a visible ending, the record settled first."""
        reading = self._tap.reading
        if not self._has_begun:
            self._outcome.status = None if self._client.is_gone else failure.status
        if isinstance(failure, TooLarge) and reading.ending is None:
            reading.unread_bytes = failure.unread_bytes
            await self._outcome.cut(reading, flag="event_too_large")  # whatever it was, it was made and is billed
        elif self._tap.events or reading.ending:
            await self._outcome.ended(reading, drained=self._client.is_gone, without_usage="upstream_broke")
        else:
            await self._outcome.failed(failure)
        if not self._has_begun:
            raise failure
        if not self._is_ended:
            await self._client.send(self._ending_of_ours("upstream_error", BROKE))
        await self._client.end()

    def _ending_of_ours(self, code: str, message: str) -> bytes:
        """It repeats what the upstream said, in words that the tenant may read."""
        ending = ending_of_ours(self._tap, code=code, message=message)
        if self._exchange is None:
            return ending
        try:
            return self._exchange.censor.events(ending)
        except Broken:
            self._tap.error = None
            return self._exchange.censor.events(ending_of_ours(self._tap, code=code, message=message))

    async def _withhold(self, failure: Withheld) -> None:
        """Nothing of an answer with an id that is not the tenant's may be seen. What it took is paid for."""
        if not self._has_begun:
            self._outcome.status = None if self._client.is_gone else failure.status
        reading = replace(self._tap.reading, response_id=self._shown_id)
        is_anothers = isinstance(failure, Repeated)
        await self._outcome.cut(reading if is_anothers else self._tap.reading, flag="withheld")
        if not self._has_begun:
            raise failure
        self._tap, self._shown.reading = self._shown, reading  # the ending goes on from what the client has
        await self._client.send(self._ending_of_ours("upstream_error", BROKE))
        await self._client.end()

    async def _stop(self) -> None:
        """The server stops and will not wait: the record is handed in first, the client sees a failure."""
        self._abandon()
        if self._has_begun and self._tap.reading.ending is None:
            await self._client.send(self._ending_of_ours("server_shutdown", SHUTDOWN))
            await self._client.end()

    def _abandon(self) -> None:
        tap = self._tap
        self._outcome.abandoned(tap.reading, is_charged=self._exchange is not None or self._is_draining)


def _passed_on(exchange: Exchange) -> Headers:
    values = ((name, exchange.headers.get(name, "")) for name in PASSED_ON)
    return [(name.encode(), value.encode()) for name, value in values if PLAIN.fullmatch(value)]
