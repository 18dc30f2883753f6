import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.prices.pricing import PriceSheet, TokenPrice
from gateway.wire.bound import Bound
from gateway.wire.clamp import TooLittleLeft, affordable_output, clamped

UNSTATED = Bound(input_tokens=100, output_tokens=None)


@pytest.mark.parametrize(
    ("cap", "left", "injected"),
    [
        (128_000, None, 16_384), (8_192, None, 8_192), (0, None, 16_384), (128_000, 10**6, 16_384),
        (128_000, 20_001, 10_000), (128_000, 512, 256), (256, 10**6, 256),
        (100, None, 100), (100, 200, 100),
    ],
)  # fmt: skip
def test_the_least_of_default_cap_and_half_of_what_is_left_is_injected(cap, left, injected):
    assert clamped(UNSTATED, model_cap=cap, left_tokens=left) == injected


@pytest.mark.parametrize(
    ("cap", "left", "tokens"), [(128_000, 511, 255), (128_000, 0, 0), (128_000, -9, 0), (100, 199, 99)]
)
def test_less_than_an_answer_needs_is_refused(cap, left, tokens):
    with pytest.raises(TooLittleLeft) as refused:
        clamped(UNSTATED, model_cap=cap, left_tokens=left)
    assert refused.value.tokens == tokens


@pytest.mark.parametrize("stated", [16, 100, 10**6])
def test_what_the_client_states_stays(stated):
    assert clamped(Bound(100, stated), model_cap=1_000, left_tokens=0) is None


def test_a_projects_default_counts():
    assert clamped(UNSTATED, model_cap=128_000, project_default=1_000) == 1_000


PICO = st.integers(0, 10**12)


@given(st.integers(0, 10**15), st.integers(0, 10**6), PICO, PICO)
def test_what_is_affordable_fits_into_what_is_left_and_a_token_more_does_not(
    left, input_tokens, input_pico, output_pico
):
    sheet = PriceSheet(TokenPrice(input_pico, 0, 0, output_pico))
    fixed = sheet.upper_bound(input_tokens=input_tokens, output_tokens=0)
    output = affordable_output(left, fixed, output_pico)
    if output:
        assert sheet.upper_bound(input_tokens=input_tokens, output_tokens=output) <= left
    if output < 10**9:
        assert fixed + sheet.upper_bound(input_tokens=0, output_tokens=output + 1) > left
