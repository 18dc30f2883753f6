"""Amounts of quotas as people write them: USD, tokens or requests, exactly. Pure."""

from contextlib import suppress
from decimal import Context, Decimal, Inexact, InvalidOperation

NANO_PER_USD = 1_000_000_000
MOST = 10**18  # a billion USD: what is posted, held and asked for on top of it still fits 64 bits
EXACT = Context(prec=40, traps=[Inexact])  # refuses what it would have to round


def nano_usd(text: str | Decimal) -> int:
    """USD as nano-USD. ValueError where it is no number of USD, negative, too large or finer than a nano-USD."""
    with suppress(Inexact, InvalidOperation):
        usd = Decimal(text)
        if usd.is_finite() and 0 <= usd <= MOST // NANO_PER_USD:
            return int(EXACT.to_integral_exact(EXACT.multiply(usd, Decimal(NANO_PER_USD))))
    raise ValueError(f"{text} USD: use a number from 0 to 1,000,000,000 with at most 9 decimals, e.g. 25 or 0.50.")


def limit_of(metric: str, text: str | Decimal) -> int:
    """A limit as people write it: USD for cost, else a whole number. ValueError as above."""
    if metric == "cost":
        return nano_usd(text)
    with suppress(Inexact, InvalidOperation):
        number = Decimal(text)
        if number.is_finite() and 0 <= number <= MOST:
            return int(EXACT.to_integral_exact(number))
    raise ValueError(f"{text} {metric}: use a whole number that is not negative, e.g. 1000000.")


def written(metric: str, amount: int) -> str:
    """An amount as `limit_of` takes it."""
    return f"{(Decimal(amount) / NANO_PER_USD).normalize():f}" if metric == "cost" else str(amount)
