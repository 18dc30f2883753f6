"""Model name patterns such as ``gpt-*``: the only wildcard is ``*``, any run of characters. Pure."""

import re
from collections.abc import Iterable
from functools import lru_cache


def matches(pattern: str, name: str) -> bool:
    """Whether `name` is what `pattern` says, case-sensitively."""
    return pattern == name or ("*" in pattern and _compiled(pattern).fullmatch(name) is not None)


def matches_any(patterns: Iterable[str], name: str) -> bool:
    return any(matches(pattern, name) for pattern in patterns)


def most_specific(patterns: Iterable[str], name: str) -> str | None:
    """The pattern that says most about `name`: the name itself, else the one with the most literal characters."""
    fitting = [pattern for pattern in patterns if matches(pattern, name)]
    return max(fitting, key=specificity, default=None)


def specificity(pattern: str) -> tuple[bool, int, str]:
    """Sorts patterns from vague to exact; the text itself breaks ties, so that the choice never depends on order."""
    return "*" not in pattern, len(pattern.replace("*", "")), pattern


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    """Each part is sought once and never again (atomic groups): no pattern takes long, whatever the name."""
    first, *middle, last = map(re.escape, pattern.split("*"))
    return re.compile(first + "".join(f"(?>.*?{part})" for part in middle) + ".*" + last, re.DOTALL)
