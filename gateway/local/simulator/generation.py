"""The routes that a model is asked by: create, compact, and the count of what they would read."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from gateway.local.simulator import errors, validation
from gateway.local.simulator.background import Background
from gateway.local.simulator.compaction import compacted
from gateway.local.simulator.errors import Refused
from gateway.local.simulator.exchange import Exchange
from gateway.local.simulator.holds import Holds
from gateway.local.simulator.player import Player
from gateway.local.simulator.prompt_cache import PromptCache
from gateway.local.simulator.reading import Reader, Reading
from gateway.local.simulator.reply import Reply
from gateway.local.simulator.scenario import Scenario
from gateway.local.simulator.scenarios import UnknownModelError, scenario_of
from gateway.local.simulator.store import Store

Body = dict[str, Any]
Act = Callable[[Exchange, Body, Scenario, Reading], Awaitable[None]]


class Generation:
    """The model's name decides what becomes of a request, on all three alike: delays and refusals, then the answer."""

    def __init__(self, store: Store, holds: Holds, background: Background) -> None:
        self._store = store
        self._background = background
        self._holds = holds
        self._cache = PromptCache()

    async def create(self, exchange: Exchange, _: str) -> None:
        await self._answer(exchange, validation.check_create, self._respond)

    async def compact(self, exchange: Exchange, _: str) -> None:
        await self._answer(exchange, validation.check_compact, self._compact)

    async def count(self, exchange: Exchange, _: str) -> None:
        await self._answer(exchange, validation.check_count, self._show_count)

    async def _answer(self, exchange: Exchange, check: Callable[[Body], None], act: Act) -> None:
        body = exchange.request.asked
        if body is None:
            raise Refused(errors.unreadable_body())
        check(body)
        try:
            scenario = scenario_of(body["model"])
        except UnknownModelError as unknown:
            raise Refused(errors.unknown_model(body["model"], str(unknown))) from None
        if body.get("background") is not True:
            await asyncio.sleep(scenario.delay)
        if scenario.unanswered:
            return await exchange.cut(scenario.unanswered)
        if scenario.refusal:
            raise Refused(scenario.refusal(exchange.account))
        reading = Reader(self._store, exchange.account, trusting=scenario.trusting).read(body)
        await act(exchange, body, scenario, reading)

    async def _respond(self, exchange: Exchange, body: Body, scenario: Scenario, reading: Reading) -> None:
        reply = self._reply(exchange, body, scenario, reading)
        if reply.in_background:
            return await self._background.respond(exchange, reply, scenario, reading)
        exchange.when_ended = lambda response: self._store.end(exchange.account, reply, response)
        with self._store.running(exchange.account, reply, reading):
            await Player(exchange, reply, scenario, self._holds).play()

    async def _compact(self, exchange: Exchange, body: Body, scenario: Scenario, reading: Reading) -> None:
        answer = compacted(self._reply(exchange, body, scenario, reading), reading.all)
        exchange.note_end(answer)
        await exchange.show(answer)

    async def _show_count(self, exchange: Exchange, body: Body, scenario: Scenario, reading: Reading) -> None:
        counted = scenario.fixed["input_tokens"] if scenario.fixed else reading.tokens
        await exchange.show({"object": "response.input_tokens", "input_tokens": counted})

    def _reply(self, exchange: Exchange, body: Body, scenario: Scenario, reading: Reading) -> Reply:
        reply = Reply({**body, "input": reading.own}, scenario, exchange.account)
        reply.read = reading.tokens
        reply.cached = self._cache.cached_tokens(exchange.account, body, reading.all)
        exchange.response_id, exchange.is_billable = reply.id, True
        return reply
