"""The list of prices that comes with Tollgate, for `manage.py load_prices`: data, with its date and source. Pure."""

import json
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from billing.prices.pricing import DEFAULT_TIER, PriceSheet, TokenPrice, pico_per_call, pico_per_token

FILE = Path(__file__).with_name("starter_prices.json")


@dataclass(frozen=True, slots=True)
class StarterPrices:
    """`as_of`: when the source had last compared them with the provider's own page. `sheets`: by model or pattern."""

    as_of: str
    source: str
    sheets: dict[str, PriceSheet]


def starter_prices() -> StarterPrices:
    """What the file says: USD per million tokens, and per thousand calls, as text so that nothing is rounded."""
    said = json.loads(FILE.read_text())
    tools = {tool: pico_per_call(Decimal(usd)) for tool, usd in said["tools"].items()}
    sheets = {name: _sheet(listed["prices"], tools) for listed in said["models"] for name in listed["names"]}
    return StarterPrices(said["as_of"], said["source"], sheets)


def _sheet(rows: list[dict[str, Any]], tools: dict[str, int]) -> PriceSheet:
    """A row without tier is in the default one; without `cached_input` or `cache_write`, that costs as input."""
    variants = [(row.get("tier", DEFAULT_TIER), row.get("above", 0), _token_price(row)) for row in rows]
    base = next(price for tier, above, price in variants if (tier, above) == (DEFAULT_TIER, 0))
    rest = [variant for variant in variants if variant[:2] != (DEFAULT_TIER, 0)]
    return PriceSheet.of(base, rest, tools).checked()


def _token_price(row: dict[str, str]) -> TokenPrice:
    pico = {
        kind: pico_per_token(Decimal(row[kind]))
        for kind in ("input", "cached_input", "cache_write", "output", "reasoning")
        if kind in row
    }
    return TokenPrice(**{"cached_input": pico["input"], "cache_write": pico["input"], **pico})
