"""Clients that leave mid-stream: the upstream is told, or is read on from within bounds; nothing stays open."""

import json
import time
from urllib.request import urlopen

from bench.figures import Round
from bench.load import Request
from bench.setting import Setting
from bench.target import Target

CLIENTS = 100
LONG = Request(deltas=150, pause_ms=20, leave_after=3)  # 3 seconds
AT_ONCE_SECONDS = 0.5
END_SECONDS = LONG.deltas * LONG.pause_ms / 1000 + 5


def leaving(setting: Setting, target: Target) -> Round:
    """`cut_after_ms`: from the last client's going to the last stream that the upstream was told to end, of those
    within half a second; all others are read on for, to their end.
    """
    before = _streams(setting.upstream)
    with setting.load.sending(target, LONG, at_once=CLIENTS, seconds=30, most=CLIENTS) as process:
        sent = setting.load.received(target, LONG, process, 60)
    time.sleep(max(0.0, sent["left_at"] + AT_ONCE_SECONDS - time.monotonic()))
    soon = _streams(setting.upstream)
    cut = soon["cut"] - before["cut"]
    open_then = _open(soon) - _open(before)
    return {
        "requests": CLIENTS,
        "cut": cut,
        "cut_after_ms": max(0.0, soon["last_cut"] - sent["left_at"]) * 1000 if cut else 0.0,
        "read_on": open_then,
        "left_open": _left_open(setting.upstream) - _open(before),
    }


def _left_open(upstream: Target) -> int:
    """Once those that are read on for have had the time to end."""
    deadline = time.monotonic() + END_SECONDS
    while (left := _open(_streams(upstream))) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def _open(streams: dict[str, float]) -> int:
    return int(streams["begun"] - streams["ended"] - streams["cut"])


def _streams(upstream: Target) -> dict[str, float]:
    """What the upstream has counted: see mock.c."""
    with urlopen(f"http://127.0.0.1:{upstream.port}/stats", timeout=5) as answer:
        streams: dict[str, float] = json.load(answer)
    return streams
