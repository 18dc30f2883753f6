"""The shapes of load, one function each: it sends, and returns the figures of one round."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median

from bench.figures import Round
from bench.leaving import leaving
from bench.load import Request
from bench.open_streams import open_streams
from bench.setting import Cost, Setting
from bench.target import Target

LOCKSTEP = 100
FEW = 10
PACED = Request(deltas=50, pause_ms=20)
WAVE_SECONDS = 1.1  # of paced streams that begin together, and a little


@dataclass(frozen=True, slots=True)
class Column:
    heading: str
    figure: str
    form: str = ".3f"


@dataclass(frozen=True, slots=True)
class Shape:
    name: str  # on the command line
    title: str
    measure: Callable[[Setting, Target], Round]
    columns: tuple[Column, ...]
    alone: bool = False  # once, and of one gateway process only
    peers: bool = False  # of the peers too


def burst(setting: Setting, target: Target, *, request: Request, at_once: int) -> Round:
    """As many as go through in a round, so many at once."""
    cost, around = Cost(target), Cost(setting.upstream)
    sent = setting.load.send(target, request, at_once=at_once, seconds=setting.seconds)
    return {
        "requests": sent["n"],
        "around_cpu_ms": around.each(sent["n"])["all_cpu_ms"] + sent["cpu_ms"] / sent["n"],
        "requests_per_second": sent["rps"],
        "p50_ms": sent["p50"],
        "p99_ms": sent["p99"],
        "memory_mb": target.memory_mb(),
        **cost.each(sent["n"]),
    }


def added_latency(setting: Setting, target: Target) -> Round:
    """One at a time, and the same to the upstream itself: what the target adds."""
    direct = setting.load.send(setting.upstream, Request(), at_once=1, seconds=setting.seconds / 4)
    found = burst(setting, target, request=Request(), at_once=1)
    return {
        **found,
        "direct_p50_ms": direct["p50"],
        "direct_p99_ms": direct["p99"],
        "added_p50_ms": found["p50_ms"] - direct["p50"],
        "added_p99_ms": found["p99_ms"] - direct["p99"],
    }


def paced(setting: Setting, target: Target) -> Round:
    """Waves of streams that begin together. CPU time is shared out over the deltas, so the events around them and
    the request itself are in it. Events that arrive in one read were one write, or their reader was late: on a busy
    machine it often is, so a wave of few streams tells which.
    """
    cost = Cost(target)
    waves = [
        setting.load.send(target, PACED, at_once=LOCKSTEP, seconds=30, most=LOCKSTEP)
        for _ in range(max(1, round(setting.seconds / WAVE_SECONDS)))
    ]
    deltas = LOCKSTEP * PACED.deltas * len(waves)
    each = cost.each(deltas)
    few = setting.load.send(target, PACED, at_once=FEW, seconds=30, most=FEW)
    return {
        "requests": LOCKSTEP * len(waves),
        "event_cpu_us": each["gateway_cpu_ms"] * 1000,
        "all_event_cpu_us": each["all_cpu_ms"] * 1000,
        "ttfb_p50_ms": median(wave["ttfb50"] for wave in waves),
        "ttfb_p99_ms": median(wave["ttfb99"] for wave in waves),
        "joined_percent": 100 * sum(wave["shared"] for wave in waves) / deltas,
        "joined_of_few_percent": 100 * few["shared"] / (FEW * PACED.deltas),
    }


CPU = (
    Column("gateway", "gateway_cpu_ms"),
    Column("PostgreSQL", "postgresql_cpu_ms"),
    Column("Valkey", "valkey_cpu_ms"),
    Column("all", "all_cpu_ms"),
    Column("load, upstream", "around_cpu_ms"),
    Column("MB", "memory_mb", ".0f"),
    Column("loop steps", "gateway_loop_steps", ",.0f"),
)
BURST = (Column("a second", "requests_per_second", ",.0f"), Column("p50 ms", "p50_ms", ".1f"), *CPU)
ADDED = (
    Column("direct p50", "direct_p50_ms"),
    Column("added p50", "added_p50_ms", ".2f"),
    Column("added p99", "added_p99_ms", ".2f"),
    Column("flush", "flush_ms"),
)
EVENTS = (
    Column("gateway us", "event_cpu_us", ".0f"),
    Column("all us", "all_event_cpu_us", ".0f"),
    Column("TTFB p50", "ttfb_p50_ms", ".1f"),
    Column("TTFB p99", "ttfb_p99_ms", ".1f"),
    Column("joined %", "joined_percent", ".2f"),
    Column(f"of {FEW} streams", "joined_of_few_percent", ".2f"),
)
OPEN = (
    Column("MB before", "before_mb", ".1f"),
    Column("MB more", "more_mb", ".1f"),
    Column("threads before", "threads", ".0f"),
    Column("threads more", "more_threads", ".0f"),
    Column("opened in s", "opened_seconds", ".1f"),
)
LEFT = (
    Column("read on for", "read_on", ".0f"),
    Column("cut", "cut", ".0f"),
    Column("cut after ms", "cut_after_ms", ".0f"),
    Column("left open", "left_open", ".0f"),
)
JSON = Request()
SSE = Request(deltas=50)
SHAPES = (
    Shape("open", "1,000 open streams", open_streams, OPEN, alone=True),
    Shape("json-1", "JSON, one at a time: milliseconds", added_latency, ADDED, peers=True),
    Shape("json-64", "JSON, 64 at once: CPU-ms a request", partial(burst, request=JSON, at_once=64), BURST,
          peers=True),
    Shape("json-256", "JSON, 256 at once: CPU-ms a request", partial(burst, request=JSON, at_once=256), BURST),
    Shape("sse", "SSE, 64 at once, 50 deltas without delay: CPU-ms a stream", partial(burst, request=SSE, at_once=64),
          BURST, peers=True),
    Shape("paced", "SSE, 100 in lockstep, 50 deltas 20 ms apart: CPU an event, ms", paced, EVENTS, peers=True),
    Shape("leave", "Clients that leave mid-stream, 100 at once", leaving, LEFT, alone=True),
)  # fmt: skip
