"""A price sheet as people read it in a terminal. Pure."""

from collections.abc import Iterator

from billing.prices.pricing import DEFAULT_TIER, Bracket, PriceSheet, TokenPrice, usd_per_million, usd_per_thousand


def rows_of(sheet: PriceSheet) -> list[tuple[str, str]]:
    """Names and prices in USD per million tokens; tools per thousand calls, as they say."""
    rows = list(_rows(sheet.base, ""))
    for tier, brackets in sorted(sheet.tiers.items()):
        for bracket in reversed(brackets):
            rows += _rows(bracket.price, _place(tier, bracket))
    rows += [
        (tool, f"{usd_per_thousand(pico).normalize():f} per thousand calls")
        for tool, pico in sorted(sheet.tools.items())
    ]
    return rows


def _rows(price: TokenPrice, place: str) -> Iterator[tuple[str, str]]:
    kinds = {
        "input": price.input,
        "cached input": price.cached_input,
        "cache write": price.cache_write,
        "output": price.output,
        "reasoning": price.reasoning,
    }
    for kind, pico in kinds.items():
        if pico is not None:
            yield f"{place}{kind}", f"{usd_per_million(pico).normalize():f}"


def _place(tier: str, bracket: Bracket) -> str:
    name = "" if tier == DEFAULT_TIER else f"{tier} "
    return f"{name}>{bracket.above_input_tokens:,} " if bracket.above_input_tokens else name
