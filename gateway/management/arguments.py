"""Values on a command line, for argparse's `type`: what they refuse is shown beside the option's name."""

import re
from argparse import ArgumentTypeError
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

from billing.prices.pricing import TokenPrice, pico_per_call, pico_per_token

KINDS = ("input", "cached-input", "cache-write", "output", "reasoning")
TIER = re.compile(r"[a-z0-9_.-]{1,32}")
TOOL = re.compile(r"[a-z0-9_]{1,64}")
PER_THOUSAND = {"1k": 1, "call": 1000}  # what a price in that unit is times, per thousand calls


def moment(text: str) -> datetime:
    """An ISO 8601 date or time, in UTC. Without a zone it is UTC, a date is its first moment."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no ISO date or time, e.g. 2027-01-31 or 2027-01-31T12:00:00Z") from None
    return parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def names(text: str) -> list[str]:
    """Names or patterns between commas, each once."""
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def price(text: str) -> int:
    """USD per million tokens, exactly, as pico-USD per token."""
    try:
        return pico_per_token(Decimal(text))
    except InvalidOperation:
        raise ArgumentTypeError(f"{text!r} is no number of USD per million tokens, e.g. 1.25") from None
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


def tool_price(text: str) -> tuple[str, int]:
    """`web_search=10/1k` or `container=0.03/call`: the tool, and exactly pico-USD per call."""
    tool, _, amount = text.partition("=")
    number, _, unit = amount.partition("/")
    if not TOOL.fullmatch(tool) or unit not in PER_THOUSAND:
        raise ArgumentTypeError(f"{text!r} is no price of a tool, e.g. web_search=10/1k or container=0.03/call")
    try:
        return tool.removesuffix("_call"), pico_per_call(Decimal(number) * PER_THOUSAND[unit])
    except InvalidOperation:
        raise ArgumentTypeError(f"{number!r} is no number of USD, e.g. 10") from None
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


def bracket_price(tier: str, words: list[str]) -> tuple[str, int, TokenPrice]:
    """Tier, bracket and prices from words such as `input=1.25`, `output=10`, `above=272000`.

    Cached input and cache writes cost as input where they are not among them.
    """
    given = {kind: text for kind, _, text in (word.partition("=") for word in words)}
    unknown = given.keys() - {*KINDS, "above"}
    if unknown or len(given) < len(words) or not {"input", "output"} <= given.keys() or not TIER.fullmatch(tier):
        raise ArgumentTypeError(
            f"{' '.join([tier, *words])!r} are no prices of a tier: write its name and input=D output=D, with any of "
            "cached-input=D cache-write=D reasoning=D above=TOKENS, each once"
        )
    above = given.pop("above", "0")
    if not above.isdecimal() or len(above) > 9:
        raise ArgumentTypeError(f"{above!r} is no number of tokens, e.g. 272000")
    prices = {kind: price(text) for kind, text in given.items()}
    return (
        tier,
        int(above),
        TokenPrice(
            input=prices["input"],
            cached_input=prices.get("cached-input", prices["input"]),
            cache_write=prices.get("cache-write", prices["input"]),
            output=prices["output"],
            reasoning=prices.get("reasoning"),
        ),
    )
