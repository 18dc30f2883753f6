import uuid
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase

from hypothesis import given
from hypothesis import strategies as st

from billing.prices.price_list import ListedPrice, PriceList
from billing.prices.pricing import PriceSheet, TokenPrice

START = datetime(2026, 1, 1, tzinfo=UTC)
PATTERNS = ["gpt-5", "gpt-5*", "gpt-*", "*", "*-5", "g*5", "o3"]
PRICE = PriceSheet(TokenPrice(1, 1, 1, 1))


def listed(pattern, day):
    return ListedPrice(uuid.uuid4(), pattern, START + timedelta(days=day), PRICE)


def expected(prices, model, at):
    """Among those that have begun: exact before pattern, more literal characters before fewer, then the newest."""
    begun = [price for price in prices if price.effective_from <= at and fnmatchcase(model, price.model)]
    rank = {pattern: ("*" not in pattern, len(pattern.replace("*", "")), pattern) for pattern in PATTERNS}
    return max(begun, key=lambda price: (rank[price.model], price.effective_from), default=None)


@given(
    st.lists(st.tuples(st.sampled_from(PATTERNS), st.integers(0, 9)), unique=True, max_size=12),
    st.sampled_from(["gpt-5", "gpt-5-mini", "o3", "g5", "other"]),
    st.integers(-1, 10),
)
def test_the_price_is_the_newest_of_the_most_specific_pattern_that_has_one(entries, model, day):
    prices = [listed(pattern, begin) for pattern, begin in entries]
    at = START + timedelta(days=day)
    assert PriceList(prices).price_of(model, at) == expected(prices, model, at)


def test_a_price_begins_at_its_moment():
    price = listed("gpt-5", 1)
    prices = PriceList([price])
    assert prices.price_of("gpt-5", price.effective_from) is price
    assert prices.price_of("gpt-5", price.effective_from - timedelta(microseconds=1)) is None


def test_until_its_own_price_begins_a_model_has_that_of_its_pattern():
    own, pattern = listed("gpt-5", 5), listed("gpt-*", 0)
    prices = PriceList([own, pattern])
    assert prices.price_of("gpt-5", START + timedelta(days=4)) is pattern
    assert prices.price_of("gpt-5", START + timedelta(days=5)) is own


def test_nothing_listed_is_no_price():
    assert PriceList([]).price_of("gpt-5", START) is None
