"""Which prices change so much from one version to the next that somebody has to say that it is meant. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from billing.prices.pricing import DEFAULT_TIER, PriceSheet, TokenPrice, usd_per_million, usd_per_thousand

FACTOR = 5


@dataclass(frozen=True, slots=True)
class Leap:
    """A price that goes up or down by more than FACTOR, or from or to nothing: what the same use cost and will cost."""

    name: str
    before: int
    after: int
    is_per_call: bool = False

    def __str__(self) -> str:
        usd = usd_per_thousand if self.is_per_call else usd_per_million
        unit = "thousand calls" if self.is_per_call else "million tokens"
        return f"{self.name} from {usd(self.before).normalize():f} to {usd(self.after).normalize():f} USD per {unit}"


def leaps(before: PriceSheet, after: PriceSheet) -> tuple[Leap, ...]:
    """The leaps between two versions of a model's price. A tool that had no price before has none to be compared."""
    tools = (Leap(f"{tool} calls", old, after.tools.get(tool, 0), True) for tool, old in sorted(before.tools.items()))
    return tuple(leap for leap in (*_token_prices(before, after), *tools) if _is_leap(leap.before, leap.after))


def _is_leap(before: int, after: int) -> bool:
    least, most = sorted((before, after))
    return least != most and (least == 0 or most > FACTOR * least)


def _token_prices(before: PriceSheet, after: PriceSheet) -> Iterator[Leap]:
    """Every price of either version beside the one that the same request has by the other."""
    brackets = {
        (tier, bracket.above_input_tokens)
        for sheet in (before, after)
        for tier, tier_brackets in sheet.tiers.items()
        for bracket in tier_brackets
    }
    for tier, above in sorted({(DEFAULT_TIER, 0), *brackets}):
        old, new = (_kinds(sheet.bracket(tier, above + 1)[1].price) for sheet in (before, after))
        place = "" if tier == DEFAULT_TIER else f"{tier} "
        size = f" above {above:,} input tokens" if above else ""
        for kind, pico in old.items():
            yield Leap(f"{place}{kind}{size}", pico, new[kind])


def _kinds(price: TokenPrice) -> dict[str, int]:
    return {
        "input": price.input,
        "cached input": price.cached_input,
        "cache write": price.cache_write,
        "output": price.output,
        "reasoning": price.output if price.reasoning is None else price.reasoning,
    }
