"""Which answer a request gets: the API's endpoints, and under /simulator/ what tests ask the simulator itself."""

from collections.abc import Awaitable, Callable

from gateway.local.simulator import errors
from gateway.local.simulator.background import Background
from gateway.local.simulator.errors import Refused
from gateway.local.simulator.exchange import Exchange
from gateway.local.simulator.generation import Generation
from gateway.local.simulator.holds import Holds
from gateway.local.simulator.model_routes import list_models, show_model
from gateway.local.simulator.sent import Sent
from gateway.local.simulator.store import Store
from gateway.local.simulator.stored_routes import StoredRoutes

Handler = Callable[[Exchange, str], Awaitable[None]]


class Routes:
    def __init__(self, key: str | None, holds: Holds, sent: Sent, store: Store, background: Background) -> None:
        self._key = key
        self._holds = holds
        self._sent = sent
        generation, stored = Generation(store, holds, background), StoredRoutes(store, background)
        self._handlers: dict[str, Handler] = {
            "create": generation.create,
            "input_tokens": generation.count,
            "compact": generation.compact,
            "retrieve": stored.retrieve,
            "delete": stored.delete,
            "cancel": stored.cancel,
            "input_items": stored.input_items,
            "models": list_models,
            "model": show_model,
        }

    async def answer(self, exchange: Exchange) -> None:
        if exchange.request.path.startswith("/simulator/"):
            return await self._answer_test(exchange)
        try:
            self._check_key(exchange.request.bearer)
            if isinstance(exchange.asked, errors.Refusal):
                raise Refused(exchange.asked)
            await self._handlers[exchange.asked.endpoint](exchange, exchange.asked.id)
        except Refused as refused:
            await exchange.refuse(refused.refusal)

    def _check_key(self, bearer: str | None) -> None:
        if bearer is None:
            raise Refused(errors.missing_key())
        if self._key is not None and bearer != self._key:
            raise Refused(errors.wrong_key(bearer))

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
