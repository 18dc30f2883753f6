"""What may happen to an answer on its way: each change is a generator that wraps the steps of an answer in others."""

from collections.abc import Callable

from gateway.local.simulator.chat import DONE
from gateway.local.simulator.errors import quota_message
from gateway.local.simulator.exchange import is_terminal
from gateway.local.simulator.identity import ORGANIZATION
from gateway.local.simulator.reply import Reply
from gateway.local.simulator.steps import Cut, Event, Half, Hold, Raw, Step, Steps, Unterminated

End = Callable[[Step, Reply], Steps]

SERVER_ERROR = "The server had an error while processing your request. Sorry about that!"
KEEPALIVE = Raw(b": keepalive\n\n")
GARBAGE = Raw(b"<html><body>\xf0\x9f\x92\xa5 502 Bad Gateway\n\n\x00\xff{]\n\nevent: \xfe\n")
BROKEN_EVENT = Raw(b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":\n\n')


# Waiting


def hold(steps: Steps, reply: Reply, *, after: int, seconds: float | None) -> Steps:
    yield from _first(steps, after)
    yield Hold(seconds)
    yield from steps


def hold_each(steps: Steps, reply: Reply) -> Steps:
    """Behind each event: what follows is withheld until somebody lets it go."""
    for step in steps:
        yield step
        if isinstance(step, dict):
            yield Hold(None)


# Breaking: `after` is the number of events that still come whole


def cut(steps: Steps, reply: Reply, *, end: End, after: int) -> Steps:
    yield from _first(steps, after)
    yield from end(next(steps, KEEPALIVE), reply)


def half_event(step: Step, reply: Reply) -> Steps:
    if isinstance(step, dict):
        yield Half(step)
    yield Cut("close")


def half_and_end(step: Step, reply: Reply) -> Steps:
    if isinstance(step, dict):
        yield Half(step)


def garbage(step: Step, reply: Reply) -> Steps:
    yield GARBAGE
    yield Cut("close")


def broken_json(step: Step, reply: Reply) -> Steps:
    yield BROKEN_EVENT
    yield Cut("close")


def error_and_cut(step: Step, reply: Reply) -> Steps:
    yield nested_error("server_error", SERVER_ERROR)
    yield Cut("close")


CUTS: dict[str, End] = {
    "reset": lambda step, reply: iter([Cut("reset")]),
    "close": lambda step, reply: iter([Cut("close")]),
    "stall": lambda step, reply: iter([Cut("stall")]),
    "badchunk": lambda step, reply: iter([Cut("badchunk")]),
    "half": half_event,
    "halfend": half_and_end,
    "garbage": garbage,
    "badjson": broken_json,
    "error": error_and_cut,
}


# Failing: the upstream says so itself and closes cleanly


def fail(steps: Steps, reply: Reply, *, form: Callable[[Reply], Steps], after: int) -> Steps:
    yield from _first(steps, after)
    yield from form(reply)


def nested_error(code: str, message: str) -> Event:
    """As captured from the real API."""
    error = {"type": code, "code": code, "message": message, "param": None}
    return {"type": "error", "sequence_number": 0, "error": error}


def flat_error(code: str, message: str) -> Event:
    """As documented, and as the SDK's types have it."""
    return {"type": "error", "sequence_number": 0, "code": code, "message": message, "param": None}


def leak_message(key: str) -> str:
    return f"{quota_message(key)} See http://127.0.0.1/v1/organizations/{ORGANIZATION}?key={key} or ask 助手."


def failed(reply: Reply, code: str = "server_error", message: str = SERVER_ERROR, usage: object = None) -> Event:
    response = reply.ending("failed", usage=usage, error={"code": code, "message": message})
    return {"type": "response.failed", "sequence_number": 0, "response": response}


def fail_nested(reply: Reply) -> Steps:
    yield nested_error("server_error", SERVER_ERROR)
    yield failed(reply)


def fail_flat(reply: Reply) -> Steps:
    yield flat_error("server_error", SERVER_ERROR)
    yield failed(reply)


def fail_quota(reply: Reply) -> Steps:
    yield nested_error("insufficient_quota", quota_message(reply.key))
    yield failed(reply, "insufficient_quota", quota_message(reply.key))


def fail_leak(reply: Reply) -> Steps:
    yield flat_error("server_error", leak_message(reply.key))
    yield failed(reply, "server_error", leak_message(reply.key))


FAILURES: dict[str, Callable[[Reply], Steps]] = {
    "nested": fail_nested,
    "flat": fail_flat,
    "quota": fail_quota,
    "leak": fail_leak,
    "plain": lambda reply: iter([failed(reply)]),
    "usage": lambda reply: iter([failed(reply, usage=reply.reported_usage())]),
    "error": lambda reply: iter([nested_error("server_error", SERVER_ERROR)]),
    "silent": lambda reply: iter([]),
}


# Noise and odd framing


def add_keepalives(steps: Steps, reply: Reply) -> Steps:
    """The undocumented `keepalive` event, numbered like all others, before each event but the first."""
    yield from _first(steps, 1)
    for step in steps:
        yield {"type": "keepalive", "sequence_number": 0}
        yield step


def add_comments(steps: Steps, reply: Reply) -> Steps:
    for step in steps:
        yield KEEPALIVE
        yield step


def add_blank_lines(steps: Steps, reply: Reply) -> Steps:
    for step in steps:
        yield step
        yield Raw(b"\n\n")


def queue_first(steps: Steps, reply: Reply) -> Steps:
    """`response.queued` behind `response.created`, as a busy upstream and background mode have it."""
    yield from _first(steps, 1)
    yield {"type": "response.queued", "sequence_number": 0, "response": reply.opening("queued")}
    yield from steps


def add_response_done(steps: Steps, reply: Reply) -> Steps:
    """`response.done` behind the terminal event, with the same response, as some relays have it."""
    for step in steps:
        yield step
        if isinstance(step, dict) and is_terminal(step):
            yield {"type": "response.done", "sequence_number": 0, "response": step.get("response", step)}


def add_done(steps: Steps, reply: Reply) -> Steps:
    yield from steps
    yield DONE


def add_byte_order_mark(steps: Steps, reply: Reply) -> Steps:
    yield Raw(b"\xef\xbb\xbf")
    yield from steps


def drop_last_blank_line(steps: Steps, reply: Reply) -> Steps:
    last = next(steps)
    for step in steps:
        yield last
        last = step
    yield Unterminated(last) if isinstance(last, dict | Raw) else last


def repeat_end(steps: Steps, reply: Reply) -> Steps:
    """The terminal event comes a second time, with twice as many tokens said."""
    yield from steps
    reply.said *= 2
    usage = reply.reported_usage()
    yield {"type": "response.completed", "sequence_number": 0, "response": reply.ending("completed", usage=usage)}


def _first(steps: Steps, count: int) -> Steps:
    """Steps up to and with the `count`th event."""
    while count > 0:
        step = next(steps, None)
        if step is None:
            return
        yield step
        count -= isinstance(step, dict)
