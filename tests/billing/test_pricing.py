from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.prices.pricing import (
    MOST_USD,
    TokenPrice,
    cost,
    half_up_to_nano,
    pico_per_call,
    pico_per_token,
    price_lines,
    usd,
    usd_per_million,
    usd_per_thousand,
)
from billing.prices.tokens import MOST_TOKENS, TokenUsage

PICO = st.integers(0, MOST_USD * 10**6)
PRICES = st.builds(TokenPrice, PICO, PICO, PICO, PICO, st.none() | PICO)
SMALL = st.one_of(st.integers(0, 20), st.integers(0, 10**6))


@st.composite
def usages(draw):
    cached, written, uncached, output = draw(SMALL), draw(SMALL), draw(SMALL), draw(SMALL)
    return TokenUsage(
        input=cached + written + uncached, cached=cached, cache_write=written, output=output,
        reasoning=draw(st.integers(0, output)),
    )  # fmt: skip


@given(usages(), PRICES)
def test_the_cost_is_exact_and_rounded_once_half_up(usage, price):
    uncached = usage.input - usage.cached - usage.cache_write
    pico = Fraction(
        uncached * price.input + usage.cached * price.cached_input + usage.cache_write * price.cache_write
        + usage.output * price.output
        + (usage.reasoning * (price.reasoning - price.output) if price.reasoning is not None else 0)
    )  # fmt: skip
    assert cost(price_lines(usage, price)) == floor(pico / 1000 + Fraction(1, 2))


@given(usages(), PRICES)
def test_the_lines_add_up_to_the_tokens_and_to_the_cost(usage, price):
    lines = price_lines(usage, price)
    assert sum(line.quantity for line in lines) == usage.total
    assert all(line.quantity and line.amount_pico_usd == line.quantity * line.price_pico_usd for line in lines)
    assert len({line.kind for line in lines}) == len(lines)
    assert cost(lines) == half_up_to_nano(sum(line.amount_pico_usd for line in lines))


def test_reasoning_priced_apart_has_its_own_line():
    usage = TokenUsage(input=10, output=30, reasoning=20)
    price = TokenPrice(1, 1, 1, 2, reasoning=7)
    assert [(line.kind, line.quantity, line.price_pico_usd) for line in price_lines(usage, price)] == [
        ("input", 10, 1), ("output", 10, 2), ("reasoning", 20, 7),
    ]  # fmt: skip
    assert cost(price_lines(usage, replace(price, reasoning=None))) == cost(
        price_lines(usage, replace(price, reasoning=2))
    )


def test_reasoning_never_makes_more_output_than_was_reported():
    lines = price_lines(TokenUsage(output=5, reasoning=9), TokenPrice(1, 1, 1, 2, reasoning=7))
    assert [(line.kind, line.quantity) for line in lines] == [("reasoning", 5)]


@pytest.mark.parametrize(("pico", "nano"), [(0, 0), (499, 0), (500, 1), (1499, 1), (1500, 2)])
def test_half_a_nano_is_rounded_up(pico, nano):
    assert half_up_to_nano(pico) == nano


def test_one_rounding_not_one_a_line():
    price = TokenPrice(400, 400, 400, 400)
    lines = price_lines(TokenUsage(input=3, cached=1, cache_write=1, output=1), price)
    assert len(lines) == 4
    assert cost(lines) == 2


def test_the_dearest_request_fits_the_books():
    dearest = TokenPrice(*[MOST_USD * 10**6] * 4)
    most = TokenUsage(input=MOST_TOKENS, cached=MOST_TOKENS, cache_write=MOST_TOKENS, output=MOST_TOKENS)
    assert cost(price_lines(most, dearest)) < 2**63


@given(PICO)
def test_a_price_is_written_and_read_without_loss(pico):
    assert pico_per_token(usd_per_million(pico)) == pico


@given(PICO)
def test_a_tools_price_is_written_and_read_without_loss(pico):
    assert pico_per_call(usd_per_thousand(pico * 1000)) == pico * 1000


@pytest.mark.parametrize(("text", "pico"), [("10", 10**10), ("0.03", 3 * 10**7), ("0.000001", 1000)])
def test_tool_prices_are_usd_per_thousand_calls(text, pico):
    assert pico_per_call(Decimal(text)) == pico


@given(st.decimals(allow_nan=True, allow_infinity=True))
def test_a_price_is_exact_or_refused(number):
    exact = Fraction(number) * 10**6 if number.is_finite() and abs(number.adjusted()) < 100 else None
    if exact is not None and exact.denominator == 1 and 0 <= exact <= MOST_USD * 10**6:
        assert pico_per_token(number) == exact
    elif number:
        with pytest.raises(ValueError, match="at most 6 decimals"):
            pico_per_token(number)


@pytest.mark.parametrize(
    ("text", "pico"),
    [("1.25", 1_250_000), ("0", 0), ("0.000001", 1), ("1.50000000000000000000000000000000000", 1_500_000)],
)
def test_prices_as_people_write_them(text, pico):
    assert pico_per_token(Decimal(text)) == pico


@pytest.mark.parametrize(
    "text",
    ["-1", "1e-7", "1.0000000000000000000000000000000001", "1000000.000001", "NaN", "sNaN", "-Infinity", "1e-999999"],
)
def test_what_is_no_price_is_refused_and_never_rounded(text):
    with pytest.raises(ValueError, match="from 0 to 1,000,000 with at most 6 decimals"):
        pico_per_token(Decimal(text))


@given(st.integers(0, 2**63))
def test_nano_usd_are_shown_exactly(nano):
    assert Fraction(usd(nano)) == Fraction(nano, 10**9)
