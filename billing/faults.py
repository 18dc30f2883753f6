"""Where a test may have a process die, stop or fail: every point by name, and what happens there when it is armed.

Armed by TOLLGATE_FAULTS in test settings alone ("settle.before=kill@3": at the third time); production refuses to start
with it. Unarmed, a point costs the call of an empty function.
"""

import asyncio
import errno
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass

POINTS = {
    "hold.before": "admitted by the gateway, not sent to the database",
    "hold.after": "the hold is durable, nothing was dispatched",
    "dispatch.after": "the mark is in the spool, no connection was opened",
    "answer.begun": "the upstream's answer has begun, nothing of it was sent on",
    "event.passed": "events went to the client",
    "ending.read": "the usage was seen, nothing is kept of it",
    "final.spooled": "the end is in the spool, not in the database",
    "settle.after": "the end is durable, its last bytes are not sent",
    "ending.sent": "the last bytes are sent, the spool is not told",
    "acknowledge.after": "the spool knows that the end is durable",
    "metering.sent": "a batch is about to be sent to the database",
    "metering.answered": "the database carried a batch out, nobody was told",
    "owner.before": "the answer has an id, nobody owns it yet",
    "owner.after": "the answer's id is owned, nothing of it was sent on",
    "spool.write": "a record is about to be written to the spool",
    "replay.entry": "an abandoned spool's request is about to be settled",
    "replay.settled": "it was settled, and not acknowledged",
    "reap.entry": "an orphan of a lost host is about to be settled",
    "post.after": "records were posted, the task did not return",
}


class Injected(Exception):
    """What an armed point raises."""


@dataclass
class _Fault:
    action: Callable[[], None]
    at: int
    reached: int = 0


def reach(point: str) -> None:
    """Says that the process is at this point."""
    if _armed:
        _reach(point)


def arm(text: str) -> None:
    """Arms `point=action[@nth], ...`; ValueError names what is wrong with it."""
    for part in filter(None, (part.strip() for part in text.split(","))):
        point, _, what = part.partition("=")
        action, _, nth = what.partition("@")
        if point not in POINTS or action not in ACTIONS or not (nth or "1").isdecimal():
            raise ValueError(f"{part!r}: use point=action@nth with one of {', '.join(POINTS)} and {', '.join(ACTIONS)}")
        _armed[point] = _Fault(ACTIONS[action], int(nth or 1))


def disarm() -> None:
    _armed.clear()


def _reach(point: str) -> None:
    fault = _armed.get(point)
    if fault is not None:
        fault.reached += 1
        if fault.reached == fault.at:
            fault.action()


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _raise() -> None:
    raise Injected


def _cancel() -> None:
    task = asyncio.current_task()
    if task is not None:
        task.cancel()


def _fill_disk() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


ACTIONS: dict[str, Callable[[], None]] = {
    "kill": _kill, "stop": _stop, "raise": _raise, "cancel": _cancel, "full": _fill_disk,
}  # fmt: skip
_armed: dict[str, _Fault] = {}
