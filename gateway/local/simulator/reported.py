"""What an answer says of itself that a scenario may falsify: its usage, its tier, its model, its id."""

from collections.abc import Callable

import msgspec

from gateway.local.simulator.identity import random_id
from gateway.local.simulator.usages import Usage


def new_response_id() -> str:
    return random_id("resp")


def reported_truly(usage: Usage) -> object:
    return usage


class Reported(msgspec.Struct):
    usage: Callable[[Usage], object] = reported_truly
    fixed: Usage | None = None  # where the scenario names the numbers
    tier: str | None = None
    model: str | None = None
    new_id: Callable[[], str] = new_response_id
