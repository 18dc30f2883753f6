"""A scenario: everything in which one answer may differ from the ordinary one. `scenarios.py` reads it from a name."""

from collections.abc import Callable

from gateway.local.simulator.errors import Refusal
from gateway.local.simulator.framing import Framing, WholeFrames, Writes
from gateway.local.simulator.reply import Reply
from gateway.local.simulator.reported import Reported
from gateway.local.simulator.steps import CutWay, Steps

Speech = Callable[[Reply], Steps]
Change = Callable[[Steps, Reply], Steps]


class Scenario(Reported):
    """Read from a name once and shared by all requests of that name: nothing in it changes afterwards."""

    speech: list[Speech] = []
    changes: list[Change] = []
    form: str = "responses"
    refusal: Callable[[str], Refusal] | None = None
    trusting: bool = False
    unanswered: CutWay | None = None
    delay: float = 0.0
    framing: Framing = Framing()
    writes: Callable[[], Writes] = WholeFrames
    gzipped: bool = False


Directive = Callable[..., None]  # takes the scenario that it changes, and its arguments as they stand in the name
