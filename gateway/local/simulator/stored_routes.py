"""The routes of a stored response: it is shown, listed by its input, cancelled, deleted."""

from typing import Any

from gateway.local.simulator import errors
from gateway.local.simulator.background import Background
from gateway.local.simulator.errors import Refused
from gateway.local.simulator.exchange import Exchange
from gateway.local.simulator.framing import Framing
from gateway.local.simulator.input_list import Item
from gateway.local.simulator.paging import page, starting_after
from gateway.local.simulator.player import STREAM_TYPE
from gateway.local.simulator.request import Query
from gateway.local.simulator.sealing import seal
from gateway.local.simulator.store import Store, Stored

ENCRYPTED = "reasoning.encrypted_content"
INCLUDABLE = [
    "file_search_call.results", "web_search_call.results", "web_search_call.action.sources",
    "message.input_image.image_url", "computer_call_output.output.image_url", "code_interpreter_call.outputs",
    ENCRYPTED, "message.output_text.logprobs",
]  # fmt: skip

FRAMING = Framing()


class StoredRoutes:
    """Each answers for the account that asks: another account's response is not found."""

    def __init__(self, store: Store, background: Background) -> None:
        self._store = store
        self._background = background

    async def retrieve(self, exchange: Exchange, response_id: str) -> None:
        response = self._find(exchange, response_id).response
        query = exchange.request.query_fields
        if query.one("stream") == "true":
            return await self._replay(exchange, response)
        await exchange.show({**response, "output": _included(response["output"], query, exchange.account)})

    async def _replay(self, exchange: Exchange, response: dict[str, Any]) -> None:
        """The events of a response that was made in the background and streamed: those that were, then as they come."""
        if not response["background"]:
            raise Refused(errors.not_streamable("background=true"))
        job = self._background.job(exchange.account, response["id"])
        if job is None:
            raise Refused(errors.no_longer_streamable())
        if not job.reply.streamed:
            raise Refused(errors.not_streamable("stream=true"))
        query = exchange.request.query_fields
        after, is_obfuscated = starting_after(query), query.one("include_obfuscation") != "false"
        exchange.head(200, STREAM_TYPE)
        async for event in job.follow(after):
            shown = event if is_obfuscated else {key: event[key] for key in event if key != "obfuscation"}
            await exchange.send(FRAMING.event(shown))
            exchange.events += 1
        exchange.ending = "completed"
        await exchange.finish()

    async def delete(self, exchange: Exchange, response_id: str) -> None:
        exchange.response_id = response_id
        self._background.cancel(exchange.account, response_id)
        if not self._store.delete(exchange.account, response_id):
            raise Refused(errors.unknown_response(response_id))
        await exchange.show({"id": response_id, "object": "response", "deleted": True})

    async def cancel(self, exchange: Exchange, response_id: str) -> None:
        """Cancelling what has ended changes nothing and shows it."""
        if not self._find(exchange, response_id).response["background"]:
            raise Refused(errors.not_cancellable())
        self._background.cancel(exchange.account, response_id)
        await exchange.show(self._find(exchange, response_id).response)

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
