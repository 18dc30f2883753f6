"""Plays the steps of an answer on an exchange: as a stream, or as the one JSON object that the stream ends with."""

import asyncio
import zlib
from collections.abc import Iterable

import msgspec

from gateway.local.simulator import chat, speech
from gateway.local.simulator.errors import envelope
from gateway.local.simulator.exchange import Exchange, is_terminal
from gateway.local.simulator.holds import Holds
from gateway.local.simulator.reply import Reply
from gateway.local.simulator.scenario import Scenario
from gateway.local.simulator.steps import Cut, Event, Half, Hold, Raw, Steps, Unterminated, Wait

STREAM_TYPE = "text/event-stream; charset=utf-8"
FRAMES_BETWEEN_LOOKS = 64


def steps_of(reply: Reply, scenario: Scenario) -> Steps:
    """What is said in the scenario's form, wrapped in its changes."""
    steps = chat.complete(reply) if scenario.form == "chat" else speech.respond(reply, scenario.speech)
    if reply.in_background:
        steps = _queued(steps, reply)
    for change in scenario.changes:
        steps = change(steps, reply)
    return steps


def _queued(steps: Steps, reply: Reply) -> Steps:
    """In the background a response is queued first: its first event says so, and a second one."""
    yield next(steps)
    yield {"type": "response.queued", "sequence_number": 0, "response": reply.opening()}
    reply.status = "in_progress"
    yield from steps


class Player:
    def __init__(self, exchange: Exchange, reply: Reply, scenario: Scenario, holds: Holds) -> None:
        self._exchange = exchange
        self._reply = reply
        self._scenario = scenario
        self._holds = holds
        self._framing = scenario.framing
        self._writes = scenario.writes()
        self._gzip = zlib.compressobj(wbits=31) if scenario.gzipped else None
        self._sequence = 0

    async def play(self) -> None:
        await (self._stream() if self._reply.streamed else self._whole())

    async def _stream(self) -> None:
        self._exchange.head(200, STREAM_TYPE, self._encoding())
        for step in steps_of(self._reply, self._scenario):
            if isinstance(step, Wait | Hold):
                await self._send(self._writes.rest())
                await self._pause(step)
            elif isinstance(step, Cut):
                await self._send(self._writes.rest())
                return await self._exchange.cut(step.way)
            else:
                await self._send(self._writes.take(self._compress(self._frame(step))))
                if self._exchange.events % FRAMES_BETWEEN_LOOKS == 0:
                    await asyncio.sleep(0)
        await self._send([*self._writes.rest(), *self._compressed_end()])
        await self._exchange.finish()

    async def _whole(self) -> None:
        """The object of the last terminal event; 500 where the answer broke before one."""
        last: Event | None = None
        for step in steps_of(self._reply, self._scenario):
            event = step.step if isinstance(step, Unterminated) else step
            if isinstance(event, dict):
                last = event if is_terminal(event) else last
            elif isinstance(event, Wait | Hold):
                await self._pause(event)
            elif isinstance(event, Cut):
                return await self._half_an_object(event)
        if last is None:
            broken = envelope("The server had an error while processing your request.", "server_error", None)
            self._exchange.ending = "failed"
            return await self._exchange.answer(500, msgspec.json.encode(broken))
        self._exchange.note_end(last)
        whole = last.get("response", last)
        body = self._compress(msgspec.json.encode(whole)) + b"".join(self._compressed_end())
        await self._exchange.answer(200, body, more=self._encoding())

    async def _half_an_object(self, cut: Cut) -> None:
        body = msgspec.json.encode(self._reply.opening())
        self._exchange.head(200, "application/json", length=len(body))
        await self._exchange.send(body[: len(body) // 2])
        await self._exchange.cut(cut.way)

    async def _pause(self, step: Wait | Hold) -> None:
        if isinstance(step, Wait):
            await asyncio.sleep(step.seconds)
        else:
            known = (self._reply.id, self._exchange.request.client_request_id)
            await self._holds.hold({name for name in known if name}, step.seconds)

    async def _send(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            await self._exchange.send(piece)

    def _frame(self, step: Event | Raw | Half | Unterminated) -> bytes:
        if isinstance(step, Raw):
            return self._framing.raw(step.data)
        if isinstance(step, Unterminated):
            frame = self._frame(step.step)
            return frame[: -len(self._framing.line_end)]
        if isinstance(step, Half):
            frame = self._framing.event(self._numbered(step.event))
            return frame[: len(frame) // 2]
        self._exchange.note(step)
        return self._framing.event(self._numbered(step))

    def _numbered(self, event: Event) -> Event:
        """Sequence numbers are given here, so that no change needs to count."""
        if "sequence_number" in event:
            event["sequence_number"] = self._sequence
            self._sequence += 1
        return event

    def _encoding(self) -> str:
        return "content-encoding: gzip\r\n" if self._gzip else ""

    def _compress(self, data: bytes) -> bytes:
        return self._gzip.compress(data) + self._gzip.flush(zlib.Z_SYNC_FLUSH) if self._gzip else data

    def _compressed_end(self) -> list[bytes]:
        return [self._gzip.flush()] if self._gzip else []
