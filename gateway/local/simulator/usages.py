"""The shapes in which a usage is reported: the true one, and what other upstreams and faults make of it.

A shape takes the true usage object and returns what stands in the answer instead; ABSENT leaves the key out.
"""

from collections.abc import Callable
from typing import Any

Usage = dict[str, Any]
ABSENT = object()


def true_usage(
    input_tokens: int, output_tokens: int, *, cached: int = 0, written: int = 0, reasoning: int = 0
) -> Usage:
    """Cached and written tokens are inside the input tokens, reasoning tokens inside the output tokens."""
    return {
        "input_tokens": input_tokens,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
        "output_tokens": output_tokens,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": input_tokens + output_tokens,
    }


def chat_form(usage: Usage) -> Usage:
    inputs = usage["input_tokens_details"]
    return {
        "prompt_tokens": usage["input_tokens"],
        "completion_tokens": usage["output_tokens"],
        "total_tokens": usage["total_tokens"],
        "prompt_tokens_details": {
            "cached_tokens": inputs["cached_tokens"],
            "audio_tokens": 0,
            "cache_write_tokens": inputs["cache_write_tokens"],
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage["output_tokens_details"]["reasoning_tokens"],
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def each_number(usage: Usage, change: Callable[[int], object]) -> Usage:
    return {
        key: each_number(value, change) if isinstance(value, dict) else change(value) for key, value in usage.items()
    }


SHAPES: dict[str, Callable[[Usage], object]] = {
    "absent": lambda usage: ABSENT,
    "null": lambda usage: None,
    "zero": lambda usage: each_number(usage, lambda number: 0),
    "negative": lambda usage: each_number(usage, lambda number: -number),
    "absurd": lambda usage: each_number(usage, lambda number: number + 10**15),
    "strings": lambda usage: each_number(usage, str),
    "floats": lambda usage: each_number(usage, float),
    "words": lambda usage: each_number(usage, lambda number: "many"),
    "short": lambda usage: {key: usage[key] for key in ("input_tokens", "output_tokens")},
    "chat": chat_form,
    "both": lambda usage: {**usage, **chat_form(usage)},
    "wrongtotal": lambda usage: {**usage, "total_tokens": usage["total_tokens"] + 7},
    "more": lambda usage: {**usage, "cost": 0.0125, "audio_tokens": None, "text_tokens": usage["output_tokens"]},
}
