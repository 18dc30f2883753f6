"""A scenario: everything in which one answer may differ from the ordinary one. `scenarios.py` reads it from a name."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from gateway.local.simulator.framing import Framing, WholeFrames, Writes
from gateway.local.simulator.steps import CutWay, Steps
from gateway.local.simulator.usages import Usage

if TYPE_CHECKING:  # a reply has a scenario and a scenario's parts take a reply
    from gateway.local.simulator.errors import Refusal
    from gateway.local.simulator.reply import Reply

Speech = Callable[["Reply"], Steps]
Change = Callable[[Steps, "Reply"], Steps]


def reported_truly(usage: Usage) -> object:
    return usage


class Scenario(msgspec.Struct):
    """Read from a name once and shared by all requests of that name: nothing in it changes afterwards."""

    speech: list[Speech] = []
    changes: list[Change] = []
    form: str = "responses"
    usage: Callable[[Usage], object] = reported_truly
    counted: int | None = None  # the input tokens, where `usage` has them fixed
    tier: str | None = None
    model: str | None = None
    refusal: "Callable[[str | None], Refusal] | None" = None
    unanswered: CutWay | None = None
    delay: float = 0.0
    framing: Framing = Framing()
    writes: Callable[[], Writes] = WholeFrames
    gzipped: bool = False


Directive = Callable[..., None]  # takes the scenario that it changes, and its arguments as they stand in the name
