"""What usage costs: exact integers, one rounding per request. Pure.

Prices are pico-USD per token (1 USD per million tokens = 1,000,000 pico-USD per token), costs nano-USD.
"""

from contextlib import suppress
from dataclasses import dataclass
from decimal import Context, Decimal, Inexact

from billing.tokens import TokenUsage

PICO_PER_NANO = 1_000
PICO_PER_TOKEN_OF_A_DOLLAR_PER_MILLION = 1_000_000
NANO_PER_USD = 1_000_000_000
MOST_USD_PER_MILLION = 1_000_000
EXACT = Context(prec=30, traps=[Inexact])  # refuses what it would have to round


@dataclass(frozen=True, slots=True)
class TokenPrice:
    """Pico-USD per token of each kind."""

    input: int
    cached_input: int
    cache_write: int
    output: int

    @property
    def dearest_input(self) -> int:
        return max(self.input, self.cached_input, self.cache_write)


@dataclass(frozen=True, slots=True)
class PriceLine:
    """One line of a bill: `quantity` of `kind` at `price_pico_usd` each."""

    kind: str
    quantity: int
    price_pico_usd: int

    @property
    def amount_pico_usd(self) -> int:
        return self.quantity * self.price_pico_usd


def price_lines(usage: TokenUsage, price: TokenPrice) -> tuple[PriceLine, ...]:
    """The bill of `usage`, line by line; kinds that were not used have no line."""
    lines = (
        PriceLine("input", usage.uncached, price.input),
        PriceLine("cached_input", usage.cached, price.cached_input),
        PriceLine("cache_write", usage.cache_write, price.cache_write),
        PriceLine("output", usage.output, price.output),
    )
    return tuple(line for line in lines if line.quantity)


def cost(lines: tuple[PriceLine, ...]) -> int:
    """Nano-USD: the exact sum of the lines, rounded half up once."""
    return half_up_to_nano(sum(line.amount_pico_usd for line in lines))


def upper_bound(input_tokens: int, output_tokens: int, price: TokenPrice) -> int:
    """Nano-USD that so many tokens cost at the most, each at the dearest price it may get."""
    return -(-(input_tokens * price.dearest_input + output_tokens * price.output) // PICO_PER_NANO)


def half_up_to_nano(pico: int) -> int:
    return (pico + PICO_PER_NANO // 2) // PICO_PER_NANO


def pico_per_token(usd_per_million: Decimal) -> int:
    """Pico-USD per token of a price as people write it. ValueError where it is out of range or finer than that."""
    with suppress(Inexact):
        if usd_per_million.is_finite() and 0 <= usd_per_million <= MOST_USD_PER_MILLION:
            pico = EXACT.multiply(usd_per_million, Decimal(PICO_PER_TOKEN_OF_A_DOLLAR_PER_MILLION))
            return int(EXACT.to_integral_exact(pico))
    raise ValueError(
        f"{usd_per_million} USD per million tokens: use a number from 0 to 1,000,000 with at most 6 decimals."
    )


def usd_per_million(pico: int) -> Decimal:
    """A price as people write it."""
    return Decimal(pico) / PICO_PER_TOKEN_OF_A_DOLLAR_PER_MILLION


def usd(nano: int) -> Decimal:
    """USD, exact, 9 decimals at the most."""
    return Decimal(nano) / NANO_PER_USD


def figure(metric: str, amount: int) -> str:
    """An amount of a quota's metric as people read it: exact."""
    return f"${usd(amount).normalize():f}" if metric == "cost" else f"{amount:,} {metric}"
