"""Where in a request's body something stands, e.g. `input[0].content[1].file_id`. Pure.

It is spelt out for what is found alone: places may be deep, and a long key over many members would be copied for each.
"""

from typing import Any

Trail = tuple[Any, str | int]  # what is around, a Trail or None, and the key or index under which it stands there
LONGEST_KEY = 64  # longer ones are in no table of ours, and are shown so far


def param_of(trail: Trail) -> str:
    """Its name, as errors have it in `param`."""
    steps: list[str] = []
    rest: Trail | None = trail
    while rest is not None:
        rest, step = rest
        steps.append(f"[{step}]" if isinstance(step, int) else f".{step[:LONGEST_KEY]}")
    return "".join(reversed(steps)).removeprefix(".")
