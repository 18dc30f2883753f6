"""The upstream's prompt cache, as far as one can see of it: who shares a `prompt_cache_key` and a beginning."""

from collections import OrderedDict
from hashlib import sha256

import msgspec

from gateway.local.simulator.input_list import Item
from gateway.local.simulator.prompt import Body, input_tokens

REMEMBERED = 10_000


class PromptCache:
    """Only what comes with a key is cached here: the instructions and the first item of the input."""

    def __init__(self) -> None:
        self._read: OrderedDict[bytes, None] = OrderedDict()

    def cached_tokens(self, account: str, body: Body, items: list[Item]) -> int:
        """How many of the input tokens the account has had read before under the same key; remembers them."""
        key = body.get("prompt_cache_key")
        if not key or not items:
            return 0
        first = {name: value for name, value in items[0].items() if name != "id"}
        beginning: Body = {"instructions": body.get("instructions"), "input": [first]}
        name = sha256(msgspec.json.encode([account, key, body.get("model"), beginning])).digest()
        known = name in self._read
        self._read[name] = None
        if len(self._read) > REMEMBERED:
            self._read.popitem(last=False)
        return input_tokens(beginning) if known else 0
