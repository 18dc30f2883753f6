"""The routes of a stored response: it is shown, listed by its input, cancelled, deleted."""

from gateway.local.simulator import errors
from gateway.local.simulator.exchange import Exchange
from gateway.local.simulator.paging import Refused, page
from gateway.local.simulator.store import Store


class StoredRoutes:
    """Each answers for the account that asks: another account's response is not found."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def retrieve(self, exchange: Exchange, response_id: str) -> None:
        stored = self._store.find(exchange.account, response_id)
        if stored is None:
            return await exchange.refuse(errors.unknown_response(response_id))
        if exchange.request.query_fields.one("stream") == "true":
            return await exchange.refuse(errors.not_streamable())
        await exchange.show(stored.response)

    async def delete(self, exchange: Exchange, response_id: str) -> None:
        if not self._store.delete(exchange.account, response_id):
            return await exchange.refuse(errors.unknown_response(response_id))
        await exchange.show({"id": response_id, "object": "response", "deleted": True})

    async def cancel(self, exchange: Exchange, response_id: str) -> None:
        stored = self._store.find(exchange.account, response_id)
        refusal = errors.unknown_response(response_id) if stored is None else errors.not_cancellable()
        await exchange.refuse(refusal)

    async def input_items(self, exchange: Exchange, response_id: str) -> None:
        stored = self._store.find(exchange.account, response_id)
        if stored is None:
            return await exchange.refuse(errors.unknown_response(response_id))
        try:
            shown = page(stored.input, exchange.request.query_fields)
        except Refused as refused:
            return await exchange.refuse(refused.refusal)
        await exchange.show(shown)
