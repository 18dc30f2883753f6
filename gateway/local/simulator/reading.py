"""What a request lets the model read: its own input, and what it refers to among what is stored."""

from typing import Any, NamedTuple

from gateway.local.simulator import errors
from gateway.local.simulator.errors import Refused
from gateway.local.simulator.input_list import Item, listed
from gateway.local.simulator.prompt import Body, input_tokens, items
from gateway.local.simulator.sealing import is_sealed
from gateway.local.simulator.store import Store, Stored

NO_CONTENT = {"id", "type", "status", "role"}


class Reading(NamedTuple):
    """`before` is what `previous_response_id` brings; `own` the request's input, each item with an id."""

    before: list[Item]
    own: list[Item]
    tokens: int

    @property
    def all(self) -> list[Item]:
        return self.before + self.own


class Reader:
    """Reads for one account. A trusting one knows nothing better: it skips what it cannot find or verify."""

    def __init__(self, store: Store, account: str, *, trusting: bool = False) -> None:
        self._store = store
        self._account = account
        self._trusting = trusting

    def read(self, body: Body) -> Reading:
        """Refused, where it refers to what the account has not."""
        if body.get("conversation") and not self._trusting:
            raise Refused(errors.unknown_conversation(_id_of(body["conversation"])))
        previous = self._previous(body)
        own = [self._read_item(item, body) for item in items(body)]
        tokens = input_tokens({**body, "input": own})
        if previous is None:
            return Reading([], listed(own), tokens)
        return Reading(previous.context(), listed(own), previous.tokens + tokens)

    def _previous(self, body: Body) -> Stored | None:
        response_id = body.get("previous_response_id")
        if not response_id:
            return None
        previous = self._store.find(self._account, str(response_id))
        if previous is None and not self._trusting:
            raise Refused(errors.unknown_previous_response(str(response_id)))
        return previous

    def _read_item(self, item: Item, body: Body) -> Item:
        """The item itself, or the stored one that it stands for."""
        sealed = item.get("encrypted_content")
        if isinstance(sealed, str) and not self._trusting and not is_sealed(self._account, sealed):
            raise Refused(errors.unverified_content(sealed))
        if not is_reference(item):
            return item
        stored = self._store.item(self._account, item["id"])
        if stored is None and not self._trusting:
            raise Refused(errors.unknown_item(item["id"], is_stored=body.get("store") is not False))
        return stored or item


def is_reference(item: Item) -> bool:
    """An `item_reference`, or an item with an id and nothing in it."""
    if not isinstance(item.get("id"), str):
        return False
    content = [value for key, value in item.items() if key not in NO_CONTENT]
    return item.get("type") == "item_reference" or all(value in (None, [], {}) for value in content)


def _id_of(reference: Any) -> str:
    return str(reference.get("id") if isinstance(reference, dict) else reference)
