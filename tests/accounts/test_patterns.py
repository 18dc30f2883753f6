import time
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.patterns import matches, matches_any, most_specific

SIGNS = st.text("ab*", max_size=7)
NAMES = st.text("ab", max_size=8)


def naive(pattern, name):
    if not pattern:
        return not name
    if pattern[0] == "*":
        return naive(pattern[1:], name) or (name != "" and naive(pattern, name[1:]))
    return name[:1] == pattern[0] and naive(pattern[1:], name[1:])


@given(SIGNS, NAMES)
def test_it_matches_as_a_naive_matcher_does(pattern, name):
    assert matches(pattern, name) == naive(pattern, name)


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("gpt-*", "gpt-4.1", True), ("gpt-*", "gpt-", True), ("gpt-*", "GPT-4.1", False), ("gpt-*", "xgpt-4", False),
        ("gpt-4.1", "gpt-401", False), ("gpt-[45]*", "gpt-4", False), ("gpt-[45]*", "gpt-[45]x", True), ("*", "", True),
        ("o3", "o3-pro", False), ("a*", "a\nb", True), ("a?", "ab", False), ("*-mini", "gpt-5-mini\n", False), ("a*a",
        "a", False),
    ],
)  # fmt: skip
def test_the_star_is_the_only_wildcard(pattern, name, fits):
    assert matches(pattern, name) is fits


def test_any_of_several_may_match():
    assert matches_any(["o3", "gpt-*"], "gpt-5")
    assert not matches_any(["o3", "gpt-*"], "o4")
    assert not matches_any([], "o3")


def test_no_pattern_takes_long_whatever_the_name():
    started = time.process_time()
    assert not matches("*a" * 60 + "*b*", "a" * 200)
    assert not matches("*a*b" * 20 + "*c", "ab" * 100)
    assert time.process_time() - started < 0.5


@pytest.mark.parametrize(
    ("patterns", "chosen"),
    [
        (["*", "gpt-*", "gpt-5*", "gpt-5-mini"], "gpt-5-mini"), (["*", "gpt-*", "gpt-5*"], "gpt-5*"), (["*", "o3"],
        "*"),
        (["*-mini", "gpt-5*", "gpt-*mini"], "gpt-*mini"), (["gpt-5*", "*-mini"], "gpt-5*"), (["o3", "o4*"], None),
    ],
)  # fmt: skip
def test_the_pattern_that_says_most_is_chosen_in_whatever_order(patterns, chosen):
    assert {most_specific(order, "gpt-5-mini") for order in permutations(patterns)} == {chosen}


@given(st.lists(SIGNS, max_size=5), NAMES)
def test_the_choice_fits_and_none_means_none_fits(patterns, name):
    chosen = most_specific(patterns, name)
    assert (chosen is None) == (not any(naive(pattern, name) for pattern in patterns))
    assert chosen is None or naive(chosen, name)
    assert name not in patterns or chosen == name
