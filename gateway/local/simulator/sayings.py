"""Directives that say what is rarely said: the kinds of items beyond text, reasoning summaries, functions, searches."""

from collections.abc import Callable
from functools import partial

from gateway.local.simulator import messages, speech, tools
from gateway.local.simulator.scenario import Directive, Scenario, Speech
from gateway.local.simulator.steps import Steps


def say(speech: Speech) -> Directive:
    def directive(scenario: Scenario) -> None:
        scenario.speech.append(speech)

    return directive


def say_many(speech: Callable[..., Steps], default: int) -> Directive:
    """So many of it as the name says, or `default`."""

    def directive(scenario: Scenario, count: str = str(default)) -> None:
        scenario.speech.append(partial(speech, count=int(count)))

    return directive


def draw(scenario: Scenario, count: str = "2", kibibytes: str = "4") -> None:
    scenario.speech.append(partial(tools.draw, count=int(count), size=int(kibibytes) * 1024))


def say_everything(scenario: Scenario) -> None:
    """One of each kind of item, in one response."""
    ordinary = (
        partial(speech.reason, count=64),
        partial(speech.search, count=1),
        partial(speech.call_functions, count=1),
    )
    scenario.speech.extend(ordinary)
    for directive in SAYINGS.values():
        if directive is not say_everything:
            directive(scenario)


SAYINGS: dict[str, Directive] = {
    "refusal": say(messages.refuse),
    "audio": say(messages.speak_aloud),
    "annotations": say(messages.annotate),
    "thinking": say_many(messages.think_aloud, 12),
    "custom": say(tools.call_custom_tool),
    "filesearch": say(tools.search_files),
    "code": say_many(tools.run_code, 1),
    "image": draw,
    "mcp": say(tools.call_mcp),
    "mcpfail": say(tools.fail_mcp),
    "shell": say(tools.run_in_shell),
    "compaction": say(tools.compact),
    "everything": say_everything,
}
