"""The list that comes with Tollgate: figures that hang together, and some that are known."""

from datetime import date

import pytest

from accounts.patterns import most_specific
from billing.prices.pricing import usd_per_million
from billing.prices.starter_prices import starter_prices

LISTED = starter_prices()


def prices(sheet):
    return [sheet.base, *(bracket.price for brackets in sheet.tiers.values() for bracket in brackets)]


def test_it_names_its_date_and_its_source():
    assert date(2026, 10, 1) <= date.fromisoformat(LISTED.as_of)
    assert "https://developers.openai.com/api/docs/pricing" in LISTED.source


@pytest.mark.parametrize("model", sorted(LISTED.sheets))
def test_its_figures_hang_together(model):
    sheet = LISTED.sheets[model]
    base = sheet.base
    for price in prices(sheet):
        assert 0 < price.cached_input <= price.input <= price.cache_write <= 2 * price.input
        assert price.input < price.output
        assert base.input / 2 <= price.input <= 4 * base.input
        assert base.output / 2 <= price.output <= 4 * base.output
    assert sheet.tiers.keys() <= {"default", "flex", "priority", "batch"}
    for bracket in sheet.tiers.get("default", ()):
        assert (bracket.above_input_tokens, bracket.price.input) == (272_000, 2 * base.input)
        assert bracket.price.output == base.output * 3 // 2


@pytest.mark.parametrize(
    ("model", "tier", "tokens", "usd"),
    [
        ("gpt-4.1", "", 1, ("2", "0.5", "2", "8")), ("gpt-4.1", "priority", 1, ("3.5", "0.875", "3.5", "14")),
        ("gpt-5", "flex", 1, ("0.625", "0.0625", "0.625", "5")), ("gpt-5.4", "", 272_000, ("2.5", "0.25", "2.5", "15")),
        ("gpt-5.4", "", 272_001, ("5", "0.5", "5", "22.5")), ("gpt-5.5", "priority", 1, ("12.5", "1.25", "12.5", "75")),
        ("gpt-6-astra", "", 1, ("10", "1", "12.5", "50")), ("o3", "", 1, ("2", "0.5", "2", "8")),
        ("gpt-4o-mini", "", 1, ("0.15", "0.075", "0.15", "0.6")),
    ],
)  # fmt: skip
def test_prices_that_are_known(model, tier, tokens, usd):
    price = LISTED.sheets[model].bracket(tier, tokens)[1].price
    found = (price.input, price.cached_input, price.cache_write, price.output)
    assert tuple(f"{usd_per_million(pico).normalize():f}" for pico in found) == usd


def test_a_tools_price_is_that_of_a_call():
    assert LISTED.sheets["gpt-5"].tools == {
        "web_search": 10**10, "file_search": 2_500_000_000, "container": 3 * 10**10, "container_4g": 12 * 10**10,
        "container_16g": 48 * 10**10, "container_64g": 192 * 10**10,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("dated", "pattern"),
    [
        ("gpt-5-2025-08-07", "gpt-5-20*"), ("gpt-5.4-mini-2026-03-17", "gpt-5.4-mini-20*"),
        ("gpt-4o-2024-05-13", "gpt-4o-2024-05-13"), ("gpt-4o-2024-11-20", "gpt-4o-20*"), ("gpt-4o-audio-preview", None),
        ("gpt-7", None),
    ],
)  # fmt: skip
def test_a_dated_snapshot_costs_what_its_model_costs(dated, pattern):
    assert most_specific(LISTED.sheets, dated) == pattern
