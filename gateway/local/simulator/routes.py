"""Which answer a request gets: the API's endpoints, and under /simulator/ what tests ask the simulator itself."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from gateway.local.simulator import errors
from gateway.local.simulator.endpoints import asked_for
from gateway.local.simulator.exchange import Exchange
from gateway.local.simulator.holds import Holds
from gateway.local.simulator.player import Player
from gateway.local.simulator.prompt import input_tokens
from gateway.local.simulator.reply import Reply
from gateway.local.simulator.scenario import Scenario
from gateway.local.simulator.scenarios import MODELS, UnknownModelError, scenario_of
from gateway.local.simulator.sent import Sent
from gateway.local.simulator.store import Store
from gateway.local.simulator.stored_routes import StoredRoutes

SMALLEST_OUTPUT_LIMIT = 16
CREATED = 1_744_316_542
COUNTED_FIELDS = {
    "model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "text", "reasoning", "personality",
    "truncation", "previous_response_id", "conversation",
}  # fmt: skip

Handler = Callable[[Exchange, str], Awaitable[None]]


class Routes:
    def __init__(self, key: str | None, holds: Holds, sent: Sent, store: Store) -> None:
        self._key = key
        self._holds = holds
        self._sent = sent
        self._store = store
        stored = StoredRoutes(store)
        self._handlers: dict[str, Handler] = {
            "create": self._create,
            "input_tokens": self._count,
            "retrieve": stored.retrieve,
            "delete": stored.delete,
            "cancel": stored.cancel,
            "input_items": stored.input_items,
            "models": _list_models,
            "model": _show_model,
        }

    async def answer(self, exchange: Exchange) -> None:
        request = exchange.request
        if request.path.startswith("/simulator/"):
            return await self._answer_test(exchange)
        refusal = self._refusal_of_key(request.bearer)
        if refusal:
            return await exchange.refuse(refusal)
        asked = asked_for(request.method, request.path)
        if isinstance(asked, errors.Refusal):
            return await exchange.refuse(asked)
        await self._handlers[asked.endpoint](exchange, asked.id)

    def _refusal_of_key(self, bearer: str | None) -> errors.Refusal | None:
        if bearer is None:
            return errors.missing_key()
        return errors.wrong_key(bearer) if self._key is not None and bearer != self._key else None

    async def _create(self, exchange: Exchange, _: str) -> None:
        body = exchange.request.asked
        refusal = errors.unreadable_body() if body is None else _refusal_of_body(body)
        if body is None or refusal:
            return await exchange.refuse(refusal or errors.unreadable_body())
        try:
            scenario = scenario_of(body["model"])
        except UnknownModelError as unknown:
            return await exchange.refuse(errors.unknown_model(body["model"], str(unknown)))
        await asyncio.sleep(scenario.delay)
        await self._respond(exchange, body, scenario)

    async def _respond(self, exchange: Exchange, body: dict[str, Any], scenario: Scenario) -> None:
        if scenario.unanswered:
            await exchange.cut(scenario.unanswered)
        elif scenario.refusal:
            await exchange.refuse(scenario.refusal(exchange.request.bearer))
        else:
            reply = Reply(body, scenario, exchange.request.bearer)
            exchange.response_id = reply.id
            exchange.when_ended = lambda response: self._store.end(exchange.account, response)
            with self._store.running(exchange.account, reply):
                await Player(exchange, reply, self._holds).play()

    async def _count(self, exchange: Exchange, _: str) -> None:
        """What the same request would be billed for its input. It takes fewer fields; delays and refusals hold too."""
        body = exchange.request.asked
        refusal = errors.unreadable_body() if body is None else _refusal_of_count(body)
        if body is None or refusal:
            return await exchange.refuse(refusal or errors.unreadable_body())
        try:
            scenario = scenario_of(body["model"])
        except UnknownModelError as unknown:
            return await exchange.refuse(errors.unknown_model(body["model"], str(unknown)))
        await asyncio.sleep(scenario.delay)
        if scenario.unanswered:
            await exchange.cut(scenario.unanswered)
        elif scenario.refusal:
            await exchange.refuse(scenario.refusal(exchange.request.bearer))
        else:
            counted = input_tokens(body) if scenario.counted is None else scenario.counted
            await exchange.show({"object": "response.input_tokens", "input_tokens": counted})

    async def _answer_test(self, exchange: Exchange) -> None:
        match exchange.request.method, exchange.request.path.split("/")[2:]:
            case "POST", ["release", *name]:
                await exchange.show({"released": self._holds.release(name[0] if name else None)})
            case "GET", ["held"]:
                names = self._holds.names()
                await exchange.show({"held": len(names), "names": names})
            case "GET", ["sent", name]:
                body = self._sent.find(name)
                found = 404 if body is None else 200
                await exchange.answer(found, body or b"", "application/octet-stream")
            case _:
                await exchange.refuse(errors.invalid_url(exchange.request.method, exchange.request.path))


def _refusal_of_body(body: dict[str, Any]) -> errors.Refusal | None:
    if not isinstance(body.get("model"), str):
        return errors.missing_parameter("model")
    if not body.get("input") and not body.get("prompt"):
        return errors.missing_parameter("input")
    if body.get("previous_response_id"):
        return errors.unknown_previous_response(body["previous_response_id"])
    limit, temperature = body.get("max_output_tokens"), body.get("temperature")
    if isinstance(limit, int) and limit < SMALLEST_OUTPUT_LIMIT:
        return errors.below_minimum("max_output_tokens", SMALLEST_OUTPUT_LIMIT, limit)
    if isinstance(temperature, int | float) and temperature < 0:
        return errors.below_minimum("temperature", 0, temperature, "decimal")
    return None


def _refusal_of_count(body: dict[str, Any]) -> errors.Refusal | None:
    unknown = next((name for name in body if name not in COUNTED_FIELDS), None)
    return _refusal_of_body(body) if unknown is None else errors.unknown_parameter(unknown)


async def _list_models(exchange: Exchange, _: str) -> None:
    await exchange.show({"object": "list", "data": [_model(name) for name in MODELS]})


async def _show_model(exchange: Exchange, name: str) -> None:
    try:
        scenario_of(name)
    except UnknownModelError as unknown:
        return await exchange.refuse(errors.unknown_model(name, str(unknown)))
    await exchange.show(_model(name))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "openai"}
