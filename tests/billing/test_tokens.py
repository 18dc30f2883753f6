import pytest

from billing.prices.estimation import UNKNOWN, Ratio
from billing.prices.tokens import MOST_TOKENS, AbsurdUsage, TokenUsage

KINDS = ["input", "cached", "cache_write", "output", "reasoning"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", [-1, MOST_TOKENS + 1, 10**30])
def test_no_kind_of_tokens_is_below_zero_or_beyond_reason(kind, number):
    with pytest.raises(AbsurdUsage):
        TokenUsage(**{kind: number})
    assert getattr(TokenUsage(**{kind: MOST_TOKENS}), kind) == MOST_TOKENS


def test_what_is_cached_or_written_is_not_billed_as_input_again():
    assert TokenUsage(input=10, cached=3, cache_write=2).uncached == 5
    assert TokenUsage(input=10, cached=30).uncached == 0


def test_the_total_counts_nothing_twice():
    assert TokenUsage(input=10, cached=3, cache_write=2, output=7, reasoning=5).total == 17


@pytest.mark.parametrize(("size", "tokens"), [(0, 0), (1, 1), (4, 1), (5, 2), (4000, 1000)])
def test_an_estimate_is_four_bytes_a_token_and_a_token_a_delta(size, tokens):
    assert UNKNOWN.usage(request_bytes=size, delta_events=9) == TokenUsage(input=tokens, output=9)


def test_an_estimate_goes_by_what_the_model_reported():
    ratio = Ratio(request_bytes=9_000, input_tokens=3_000, delta_events=100, output_tokens=250)
    assert ratio.usage(request_bytes=30, delta_events=3) == TokenUsage(input=10, output=8)
    assert ratio.usage(request_bytes=30, delta_events=3, most=12) == TokenUsage(input=10, output=2)
    assert ratio.usage(request_bytes=30, delta_events=3, most=9) == TokenUsage(input=9)
