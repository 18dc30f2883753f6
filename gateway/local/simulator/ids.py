"""Ids that are not `resp_` and 48 hexadecimal digits: what other upstreams give, and what an upstream must not give."""

import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable
from functools import partial
from hashlib import sha256, shake_256
from typing import Any

from gateway.local.simulator.reply import Reply
from gateway.local.simulator.scenario import Scenario
from gateway.local.simulator.steps import Steps

LONG_ID_BYTES = 192
OWN_DIGITS = 8

_ITEM_ID = re.compile(r"(?!resp)[a-z]+_[0-9a-f]{48}")


def give_long_ids(scenario: Scenario) -> None:
    """As relays make them: no prefix, base64 with `-` and `_`, long."""
    scenario.new_id = lambda: _long_id(secrets.token_bytes(LONG_ID_BYTES))
    scenario.changes.insert(0, partial(_with_item_ids, new=lambda old, reply: _long_id(old.encode())))


def give_alike_ids(scenario: Scenario) -> None:
    """The items' ids are the response's save for the last digits, prefix included."""
    scenario.changes.insert(0, partial(_with_item_ids, new=_like_its_response))


def give_same_id(scenario: Scenario, name: str = "") -> None:
    """Every response of this name has the same id."""
    response_id = "resp_" + sha256(name.encode()).hexdigest()[:48]
    scenario.new_id = lambda: response_id


FORMS: dict[str, Callable[..., None]] = {"long": give_long_ids, "alike": give_alike_ids, "same": give_same_id}


def give_ids(scenario: Scenario, form: str, *name: str) -> None:
    FORMS[form](scenario, *name)


def _with_item_ids(steps: Steps, reply: Reply, new: Callable[[str, Reply], str]) -> Steps:
    for step in steps:
        yield _renamed(step, lambda old: new(old, reply)) if isinstance(step, dict) else step


def _renamed(value: Any, new: Callable[[str], str]) -> Any:
    """The value with each of the simulator's item ids replaced, wherever it stands."""
    if isinstance(value, dict):
        return {key: _renamed(inner, new) for key, inner in value.items()}
    if isinstance(value, list):
        return [_renamed(inner, new) for inner in value]
    return new(value) if isinstance(value, str) and _ITEM_ID.fullmatch(value) else value


def _like_its_response(old: str, reply: Reply) -> str:
    return reply.id[:-OWN_DIGITS] + sha256(old.encode()).hexdigest()[:OWN_DIGITS]


def _long_id(seed: bytes) -> str:
    digits = urlsafe_b64encode(shake_256(seed).digest(LONG_ID_BYTES)).decode()
    return f"{digits[:90]}-{digits[90:180]}_{digits[180:]}"
