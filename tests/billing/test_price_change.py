import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.prices.price_change import leaps
from billing.prices.pricing import PriceSheet, TokenPrice


def flat(pico, **fields):
    return TokenPrice(pico, pico, pico, pico, **fields)


def names(before, after):
    return {leap.name for leap in leaps(before, after)}


KINDS = ("input", "cached input", "cache write", "output", "reasoning")
ALL = set(KINDS)


@pytest.mark.parametrize(
    ("before", "after", "is_leap"),
    [
        (10, 50, False), (10, 51, True), (50, 10, False), (51, 10, True), (0, 1, True), (1, 0, True), (0, 0, False),
        (7, 7, False),
    ],
)  # fmt: skip
def test_a_leap_is_more_than_fivefold_either_way_or_from_or_to_nothing(before, after, is_leap):
    assert names(PriceSheet(flat(before)), PriceSheet(flat(after))) == (ALL if is_leap else set())


@given(st.integers(0, 100), st.integers(0, 100))
def test_it_is_the_same_in_both_directions(one, other):
    assert names(PriceSheet(flat(one)), PriceSheet(flat(other))) == names(
        PriceSheet(flat(other)), PriceSheet(flat(one))
    )


@pytest.mark.parametrize("position", range(4))
def test_each_kind_is_compared_with_its_own(position):
    changed = TokenPrice(*[60 if index == position else 10 for index in range(4)], reasoning=10)
    assert names(PriceSheet(flat(10, reasoning=10)), PriceSheet(changed)) == {KINDS[position]}


def test_reasoning_priced_apart_is_compared_with_the_output_it_was():
    assert names(PriceSheet(flat(10)), PriceSheet(flat(10, reasoning=60))) == {"reasoning"}
    assert names(PriceSheet(flat(10)), PriceSheet(flat(10, reasoning=50))) == set()


def test_a_tier_that_comes_or_goes_is_compared_with_what_its_requests_cost_otherwise():
    without = PriceSheet(flat(10))
    near, far = (PriceSheet.of(flat(10), [("flex", 0, flat(pico))]) for pico in (5, 1))
    assert names(without, near) == names(near, without) == set()
    assert names(without, far) == names(far, without) == {f"flex {kind}" for kind in KINDS}


def test_brackets_are_compared_for_the_same_requests():
    before = PriceSheet.of(flat(10), [("default", 100, flat(20))])
    after = PriceSheet.of(flat(10), [("default", 200, flat(200))])
    assert names(before, after) == {f"{kind} above 200 input tokens" for kind in KINDS}


def test_a_tool_that_had_no_price_has_none_to_compare_with():
    none, some, more = (PriceSheet.of(flat(1), (), tools) for tools in ({}, {"mcp": 10**9}, {"mcp": 6 * 10**9}))
    assert names(none, some) == set()
    assert names(some, more) == names(some, none) == {"mcp calls"}


def test_a_leap_says_what_changes_by_how_much():
    before = PriceSheet.of(flat(1_250_000), (), {"web_search": 10**10})
    after = PriceSheet.of(TokenPrice(12_500_000, 1_250_000, 1_250_000, 1_250_000), (), {"web_search": 0})
    assert [str(leap) for leap in leaps(before, after)] == [
        "input from 1.25 to 12.5 USD per million tokens", "web_search calls from 10 to 0 USD per thousand calls",
    ]  # fmt: skip
