"""The routes of a stored response: it is shown, listed by its input, cancelled, deleted."""

from typing import Any

from gateway.local.simulator import errors
from gateway.local.simulator.errors import Refused
from gateway.local.simulator.exchange import Exchange
from gateway.local.simulator.input_list import Item
from gateway.local.simulator.paging import page
from gateway.local.simulator.request import Query
from gateway.local.simulator.sealing import seal
from gateway.local.simulator.store import Store, Stored

ENCRYPTED = "reasoning.encrypted_content"
INCLUDABLE = [
    "file_search_call.results", "web_search_call.results", "web_search_call.action.sources",
    "message.input_image.image_url", "computer_call_output.output.image_url", "code_interpreter_call.outputs",
    ENCRYPTED, "message.output_text.logprobs",
]  # fmt: skip


class StoredRoutes:
    """Each answers for the account that asks: another account's response is not found."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def retrieve(self, exchange: Exchange, response_id: str) -> None:
        response = self._find(exchange, response_id).response
        query = exchange.request.query_fields
        if query.one("stream") == "true":
            raise Refused(errors.not_streamable())
        await exchange.show({**response, "output": _included(response["output"], query, exchange.account)})

    async def delete(self, exchange: Exchange, response_id: str) -> None:
        exchange.response_id = response_id
        if not self._store.delete(exchange.account, response_id):
            raise Refused(errors.unknown_response(response_id))
        await exchange.show({"id": response_id, "object": "response", "deleted": True})

    async def cancel(self, exchange: Exchange, response_id: str) -> None:
        self._find(exchange, response_id)
        raise Refused(errors.not_cancellable())

    async def input_items(self, exchange: Exchange, response_id: str) -> None:
        stored = self._find(exchange, response_id)
        query = exchange.request.query_fields
        await exchange.show(page(_included(stored.input, query, exchange.account), query))

    def _find(self, exchange: Exchange, response_id: str) -> Stored:
        exchange.response_id = response_id
        stored = self._store.find(exchange.account, response_id)
        if stored is None:
            raise Refused(errors.unknown_response(response_id))
        return stored


def _included(items: list[Item], query: Query, account: str) -> list[Item]:
    """Of reasoning the encrypted content is shown only to those who ask for it, whoever had asked at its making."""
    include = query.all("include")
    for number, name in enumerate(include):
        if name not in INCLUDABLE:
            raise Refused(errors.invalid_value(f"include[{number}]", name, INCLUDABLE))
    return [_shown(item, account, ENCRYPTED in include) for item in items]


def _shown(item: Item, account: str, is_encrypted_shown: bool) -> Item:
    if item.get("type") != "reasoning":
        return item
    shown: dict[str, Any] = {name: value for name, value in item.items() if name != "encrypted_content"}
    if is_encrypted_shown:
        shown["encrypted_content"] = item.get("encrypted_content") or seal(account)
    return shown
