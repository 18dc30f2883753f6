"""Figures, for people and for machines."""

import os
import platform
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from bench.cpu import CALIBRATION_STEPS
from bench.load import CONCURRENCY, Figures, Round
from bench.programs import FOLDER
from bench.stand import Cores

COLUMNS = "{:16}" + "{:>22}" * 6


def facts(figures: Figures, cores: Cores, rounds: int, seconds: float) -> dict[str, Any]:
    """One JSON object: where, when, and median, lowest and highest of each figure over the rounds."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": {"cores": os.cpu_count(), "model": _model(), "python": platform.python_version()},
        "pinned": {"gateway": cores.gateway, "others": cores.others},
        "concurrency": CONCURRENCY,
        "seconds": seconds,
        "rounds": rounds,
        "calibration_ms": _spread(found.calibration_ms for kind in figures.rounds.values() for found in kind),
        "kinds": {name: _kind(rounds) for name, rounds in figures.rounds.items()},
    }


def text(found: dict[str, Any]) -> str:
    """`facts` as a table."""
    machine, pinned = found["machine"], found["pinned"]
    lines = [
        f"{found['date']}, commit {found['commit']}, Python {machine['python']}, {machine['cores']} cores, "
        f"{machine['model']}",
        f"gateway on core {pinned['gateway']}, all else on core {pinned['others']}; {found['concurrency']} concurrent; "
        f"median (lowest-highest) of {found['rounds']} rounds of {found['seconds']:g} s",
        "",
        COLUMNS.format(
            "CPU-ms a request", "requests/s", "gateway", "PostgreSQL", "Valkey", "all", "gateway, loop steps"
        ),
    ]
    for name, kind in found["kinds"].items():
        parts = [_shown(kind["cpu_ms"][part], ".3f") for part in ("gateway", "postgresql", "valkey", "all")]
        steps = _shown(kind["gateway_loop_steps"], ",.0f")
        lines.append(COLUMNS.format(name, _shown(kind["requests_per_second"], ",.0f"), *parts, steps))
    calibration = _shown(found["calibration_ms"], ".1f")
    lines.append(f"\nCalibration: {calibration} CPU-ms for {CALIBRATION_STEPS:,} steps of a loop in pure Python.")
    return "\n".join(lines)


def _kind(rounds: list[Round]) -> dict[str, Any]:
    parts = {part: _spread(one.cpu_ms[part] for one in rounds) for part in rounds[0].cpu_ms}
    return {
        "requests": sum(one.requests for one in rounds),
        "requests_per_second": _spread(one.requests_per_second for one in rounds),
        "cpu_ms": {**parts, "all": _spread(sum(one.cpu_ms.values()) for one in rounds)},
        "gateway_loop_steps": _spread(one.cpu_ms["gateway"] / one.calibration_ms * CALIBRATION_STEPS for one in rounds),
    }


def _spread(values: Iterable[float]) -> dict[str, float]:
    found = [round(value, 4) for value in values]
    return {"median": round(median(found), 4), "lowest": min(found), "highest": max(found)}


def _shown(spread: dict[str, float], form: str) -> str:
    return f"{spread['median']:{form}} ({spread['lowest']:{form}}-{spread['highest']:{form}})"


def _commit() -> str:
    """With a + where the tree differs from it."""
    words = ["git", "-C", str(FOLDER.parent), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
