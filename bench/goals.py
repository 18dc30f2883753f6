"""The goals, each with what was measured: met, MISSED, or not measured."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.figures import Figures
from bench.peers.peer import LITELLM, NGINX, PORTKEY
from bench.stand import OURS, PAIR

Measured = float | None
ALONE, FLUSHES = 2.5, 4  # milliseconds, and flushes of the disk: two durable commits in series


@dataclass(frozen=True, slots=True)
class Goal:
    """`measured` is to be at most `limit` (at least it, where `more` is better), both in `unit`."""

    title: str
    measured: Measured
    limit: Measured
    unit: str = "ms"
    more: bool = False

    @property
    def verdict(self) -> str:
        if self.measured is None or self.limit is None:
            return "not measured"
        return "met" if (self.measured >= self.limit if self.more else self.measured <= self.limit) else "MISSED"


def goals(figures: Figures) -> list[Goal]:
    """All of them, in medians over the rounds."""
    return [*_costs(figures), *_beside_peers(figures), *_latency(figures), *_streams(figures), *_leaving(figures)]


def _costs(figures: Figures) -> Iterator[Goal]:
    ours = _of(figures, "json-64", OURS)
    yield Goal("JSON at 64: gateway CPU a request, without limits", ours("gateway_cpu_ms"), 0.39)
    yield Goal("JSON at 64: PostgreSQL CPU a request", ours("postgresql_cpu_ms"), 0.20)
    yield Goal("JSON at 64: gateway, PostgreSQL and Valkey CPU a request", ours("all_cpu_ms"), 0.70)
    two = _of(figures, "json-64", PAIR)("all_cpu_ms")
    yield Goal("Two processes: CPU a request, all parts, to that of one", _ratio(two, ours("all_cpu_ms")), 1.6, "x")


def _beside_peers(figures: Figures) -> Iterator[Goal]:
    ours = _of(figures, "json-64", OURS)
    for name, most in ((LITELLM, 1 / 20), (PORTKEY, 1 / 4), (NGINX, 15)):
        theirs = _of(figures, "json-64", name)
        ratio = _ratio(ours("gateway_cpu_ms"), theirs("gateway_cpu_ms"))
        yield Goal(f"JSON at 64: gateway CPU to that of {name}", ratio, most, "x")
    slower = _of(figures, "json-64", LITELLM)("requests_per_second")
    yield Goal(
        f"JSON at 64: requests/s to those of {LITELLM}", _ratio(ours("requests_per_second"), slower), 20, "x", True
    )


def _latency(figures: Figures) -> Iterator[Goal]:
    ours = _of(figures, "json-1", OURS)
    flush = ours("flush_ms")
    limit = None if flush is None else ALONE + FLUSHES * flush
    flushes = "" if flush is None else f" of {flush:.2f} ms"
    yield Goal(f"JSON at 1: added p50, {ALONE} ms + {FLUSHES} fdatasync{flushes}", ours("added_p50_ms"), limit)
    yield Goal("JSON at 1: added p99", ours("added_p99_ms"), 12)


def _streams(figures: Figures) -> Iterator[Goal]:
    yield Goal("SSE, 50 deltas without delay: gateway CPU a stream", _of(figures, "sse", OURS)("gateway_cpu_ms"), 0.9)
    paced, opened = _of(figures, "paced", OURS), _of(figures, "open", OURS)
    yield Goal("Paced: gateway CPU an event", paced("event_cpu_us"), 110, "us")
    yield Goal("Paced: events that were not a write of their own", paced("joined_of_few_percent"), 0, "%")
    yield Goal("Paced: TTFB p50 of 100 lockstep streams", paced("ttfb_p50_ms"), 30)
    yield Goal("1,000 open streams: more memory", opened("more_mb"), 25, "MB")
    yield Goal("1,000 open streams: more threads", opened("more_threads"), 0, "")


def _leaving(figures: Figures) -> Iterator[Goal]:
    left = _of(figures, "leave", OURS)
    yield Goal("Client gone: upstream cancelled, or read on for within bounds, after", left("cut_after_ms"), 500)
    yield Goal("Client gone: streams left open in the end", left("left_open"), 0, "")


def _of(figures: Figures, shape: str, target: str) -> Callable[[str], Measured]:
    def measured(name: str) -> Measured:
        spread = figures.spread(shape, target, name)
        return None if spread is None else spread.median

    return measured


def _ratio(one: Measured, other: Measured) -> Measured:
    return one / other if one is not None and other else None
