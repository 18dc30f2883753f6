"""The table of scenarios: a model name says how the answer to it behaves. docs/simulator.md explains each of them."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

from gateway.local.simulator import changes, refusals, speech
from gateway.local.simulator.framing import Framing, Joined, RandomPieces, SingleBytes, SplitCharacters
from gateway.local.simulator.ids import give_ids
from gateway.local.simulator.sayings import SAYINGS
from gateway.local.simulator.scenario import Directive, Scenario
from gateway.local.simulator.steps import CutWay
from gateway.local.simulator.usages import SHAPES, true_usage

ORDINARY = ("gpt-", "o1", "o3", "o4", "codex-", "chatgpt-")
WAYS: dict[str, CutWay] = {"reset": "reset", "close": "close", "stall": "stall"}
OTHER_MODEL = "gpt-4o-mini-2024-07-18"


class UnknownModelError(Exception):
    """The name is neither an ordinary model's nor a scenario's; the text says which part is not understood."""


@lru_cache(maxsize=1024)
def scenario_of(model: str) -> Scenario:
    """`gpt-4.1` answers ordinarily; `sim-tool.crlf.cut-reset-7` is read from left to right. UnknownModelError."""
    scenario = Scenario()
    if model.startswith(ORDINARY):
        return scenario
    prefix, _, name = model.partition("-")
    if prefix != "sim":
        raise UnknownModelError
    for directive in name.split("."):
        word, *arguments = directive.split("-")
        try:
            DIRECTIVES[word](scenario, *arguments)
        except (KeyError, TypeError, ValueError):
            raise UnknownModelError(f" (no such scenario: '{directive}')") from None
    return scenario


# What is said


def say_ordinarily(scenario: Scenario) -> None:
    scenario.speech.append(speech.speak)


def say_paced(scenario: Scenario, count: str = "50", gap: str = "20") -> None:
    scenario.speech.append(partial(speech.speak_paced, count=int(count), gap=int(gap) / 1000))


def say_big(scenario: Scenario, kibibytes: str = "1024") -> None:
    scenario.speech.append(partial(speech.speak_big, size=int(kibibytes) * 1024))


def reason_first(scenario: Scenario, count: str = "64") -> None:
    scenario.speech.append(partial(speech.reason, count=int(count)))
    scenario.speech.append(speech.speak)


def call_functions(scenario: Scenario, count: str = "1") -> None:
    scenario.speech.append(partial(speech.call_functions, count=int(count)))


def search(scenario: Scenario, count: str = "1") -> None:
    scenario.speech.append(partial(speech.search, count=int(count)))


def chat_form(scenario: Scenario) -> None:
    scenario.form = "chat"
    scenario.framing = Framing(named=False)


# What it reports


def report(scenario: Scenario, *arguments: str) -> None:
    """A shape by name, or five numbers: input, cached, cache write, output, reasoning."""
    if arguments[0] in SHAPES:
        (shape,) = arguments
        scenario.usage = SHAPES[shape]
        return
    read, cached, written, output, reasoning = map(int, arguments)
    fixed = true_usage(read, output, cached=cached, written=written, reasoning=reasoning)
    scenario.usage = lambda usage: fixed
    scenario.fixed = fixed


def serve_tier(scenario: Scenario, tier: str) -> None:
    scenario.tier = tier


def serve_other_model(scenario: Scenario) -> None:
    scenario.model = OTHER_MODEL


# When


def delay_headers(scenario: Scenario, milliseconds: str) -> None:
    scenario.delay = int(milliseconds) / 1000


def hold(scenario: Scenario, milliseconds: str = "0", after: str = "5") -> None:
    seconds = int(milliseconds) / 1000 or None
    scenario.changes.append(partial(changes.hold, after=int(after), seconds=seconds))


# What it believes


def trust(scenario: Scenario) -> None:
    scenario.trusting = True


# Instead of a response


def refuse(refusal: Callable[..., Any]) -> Directive:
    def directive(scenario: Scenario, *arguments: str) -> None:
        refusal("sk-nobody", *map(int, arguments))
        scenario.refusal = lambda key: refusal(key, *map(int, arguments))

    return directive


def leave_unanswered(scenario: Scenario, way: str) -> None:
    scenario.unanswered = WAYS[way]


# How it breaks


def fail(scenario: Scenario, form: str, after: str = "5") -> None:
    scenario.changes.append(partial(changes.fail, form=changes.FAILURES[form], after=int(after)))


def cut(scenario: Scenario, way: str, after: str = "5") -> None:
    scenario.changes.append(partial(changes.cut, end=changes.CUTS[way], after=int(after)))


def repeat_end(scenario: Scenario) -> None:
    scenario.changes.append(changes.repeat_end)


def change_with(change: Callable[..., Any]) -> Directive:
    def directive(scenario: Scenario) -> None:
        scenario.changes.append(change)

    return directive


# How it is written


def frame_with(**differences: Any) -> Directive:
    def directive(scenario: Scenario) -> None:
        scenario.framing = Framing(**_fields(scenario.framing) | differences)

    return directive


def write_bytes(scenario: Scenario) -> None:
    scenario.writes = SingleBytes


def write_pieces(scenario: Scenario, seed: str = "1") -> None:
    scenario.writes = partial(RandomPieces, int(seed))


def write_joined(scenario: Scenario, most: str = "8") -> None:
    scenario.writes = partial(Joined, int(most))


def write_split(scenario: Scenario) -> None:
    scenario.writes = SplitCharacters


def write_whole(scenario: Scenario) -> None:
    scenario.writes = partial(Joined, 10**9)


def compress(scenario: Scenario) -> None:
    scenario.gzipped = True


def _fields(framing: Framing) -> dict[str, Any]:
    return {name: getattr(framing, name) for name in framing.__struct_fields__}


DIRECTIVES: dict[str, Directive] = {
    "ok": say_ordinarily,
    "paced": say_paced,
    "big": say_big,
    "reasoning": reason_first,
    "tool": call_functions,
    "search": search,
    **SAYINGS,
    "chat": chat_form,
    "usage": report,
    "tier": serve_tier,
    "othermodel": serve_other_model,
    "ids": give_ids,
    "trusting": trust,
    "delay": delay_headers,
    "hold": hold,
    "stepwise": change_with(changes.hold_each),
    "status": refuse(refusals.status),
    "html": refuse(refusals.html),
    "garbage": refuse(refusals.garbage),
    "ratelimited": refuse(refusals.rate_limited),
    "quota": refuse(refusals.quota),
    "unauthorized": refuse(refusals.unauthorized),
    "forbidden": refuse(refusals.forbidden),
    "gone": refuse(refusals.gone),
    "noanswer": leave_unanswered,
    "fail": fail,
    "cut": cut,
    "twice": change_with(changes.repeat_end),
    "keepalive": change_with(changes.add_keepalives),
    "queued": change_with(changes.queue_first),
    "responsedone": change_with(changes.add_response_done),
    "comments": change_with(changes.add_comments),
    "blanks": change_with(changes.add_blank_lines),
    "done": change_with(changes.add_done),
    "bom": change_with(changes.add_byte_order_mark),
    "noblank": change_with(changes.drop_last_blank_line),
    "crlf": frame_with(line_end=b"\r\n"),
    "cr": frame_with(line_end=b"\r"),
    "dataonly": frame_with(named=False),
    "nospace": frame_with(colon=b":"),
    "multiline": frame_with(multiline=True),
    "bytes": write_bytes,
    "pieces": write_pieces,
    "split": write_split,
    "joined": write_joined,
    "whole": write_whole,
    "gzip": compress,
}
MODELS = [
    "codex-mini-latest", "gpt-4.1", "gpt-4.1-mini", "gpt-4o", "gpt-4o-mini", "gpt-5", "gpt-5-mini", "o3", "o3-pro",
    "sim-ok", "sim-paced", "sim-reasoning", "sim-search", "sim-tool", "sim-chat", "sim-hold",
]  # fmt: skip
