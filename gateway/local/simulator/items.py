"""The events that an item of any kind is made of: it is added, grows by deltas, passes through states, is done."""

import random
import re
import string
from collections.abc import Iterable
from typing import Any

from gateway.local.simulator.reply import Reply
from gateway.local.simulator.steps import Event, Steps

Item = dict[str, Any]

_TOKEN = re.compile(r" ?[A-Za-z0-9']+|.", re.DOTALL)
_NOISE = "".join(random.choices(string.ascii_letters + string.digits, k=2048))


def tokens(text: str) -> list[str]:
    """Words with the space before them, every other character alone: what one delta carries, counted as one token."""
    return _TOKEN.findall(text)


def added(reply: Reply, item: Item) -> Event:
    return _item("added", len(reply.output), item)


def done(reply: Reply, item: Item) -> Event:
    """The item is part of the response from here on."""
    reply.output.append(item)
    return _item("done", len(reply.output) - 1, item)


def place_of(reply: Reply, item: Item, **indexes: int) -> dict[str, Any]:
    """By what the events of the item that is being made name it."""
    return {"item_id": item["id"], "output_index": len(reply.output), **indexes}


def event(kind: str, place: dict[str, Any], **fields: Any) -> Event:
    return {"type": kind, "sequence_number": 0, **place, **fields}


def states(kind: str, place: dict[str, Any], *names: str) -> Steps:
    """A call of one of the upstream's own tools on its way: `response.KIND.NAME`."""
    return (event(f"response.{kind}.{name}", place) for name in names)


def deltas(reply: Reply, name: str, words: Iterable[str], place: dict[str, Any], said: list[str]) -> Steps:
    """`NAME.delta`, one a word as far as there is room, each a token; `said` gathers them."""
    for word in words:
        if reply.room() <= 0:
            reply.cut_short = True
            return
        said.append(word)
        reply.said += 1
        yield delta(reply, f"{name}.delta", place, word)


def delta(reply: Reply, name: str, place: dict[str, Any], text: str) -> Event:
    """Obfuscation fills a delta up to a multiple of 16 characters, so that its length betrays little of the text."""
    made = event(name, place, delta=text)
    if reply.obfuscated:
        start = int(random.random() * 2000)
        made["obfuscation"] = _NOISE[start : start + (-len(text) % 16 or 16)]
    return made


def status(reply: Reply) -> str:
    return "incomplete" if reply.cut_short else "completed"


def _item(state: str, index: int, item: Item) -> Event:
    return {"type": f"response.output_item.{state}", "sequence_number": 0, "output_index": index, "item": item}
