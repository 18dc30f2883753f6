"""What a request is billed by: its tier, its bracket, its tools; and the most that this can come to."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.prices.pricing import PriceSheet, TokenPrice, cost
from billing.prices.tokens import TokenUsage

PICO = st.integers(0, 10**9)
PRICES = st.builds(TokenPrice, PICO, PICO, PICO, PICO, st.none() | PICO)
TIERS = ["default", "flex", "priority", "fast", "batch"]
ASKED = ["", "auto", "default", "flex", "priority", "fast", "scale", "ultrafast"]
# What the upstream may serve a request as that asked for a tier; everything where it is not named here.
MAY_BE_SERVED = {
    "default": {"default", ""}, "flex": {"flex", "default", ""}, "priority": {"priority", "default", ""},
    "fast": {"fast", "priority", "default", ""},
}  # fmt: skip
SMALL = st.one_of(st.integers(0, 30), st.integers(0, 10**6))
TOOLS = ["web_search", "file_search", "container", "mcp"]


def flat(pico, **fields):
    return TokenPrice(pico, pico, pico, pico, **fields)


@st.composite
def sheets(draw):
    variants = draw(
        st.dictionaries(
            st.tuples(st.sampled_from(TIERS), st.integers(0, 40)).filter(lambda key: key != ("default", 0)), PRICES,
            max_size=6,
        )
    )  # fmt: skip
    tools = draw(st.dictionaries(st.sampled_from(TOOLS), PICO))
    return PriceSheet.of(draw(PRICES), [(*key, price) for key, price in variants.items()], tools)


@st.composite
def usages(draw):
    cached, written, uncached, output = draw(SMALL), draw(SMALL), draw(SMALL), draw(SMALL)
    return TokenUsage(
        input=cached + written + uncached, cached=cached, cache_write=written, output=output,
        reasoning=draw(st.integers(0, output)),
    )  # fmt: skip


CALLS = st.dictionaries(st.sampled_from([f"{tool}_call" for tool in TOOLS]), st.integers(0, 9))


def bill(sheet, usage, served="", **calls):
    return sheet.lines(usage, service_tier=served, tool_calls=calls)


@given(sheets(), usages(), CALLS, st.sampled_from(ASKED), st.data())
def test_no_request_within_the_bound_costs_more_than_it(sheet, usage, calls, asked, data):
    served = data.draw(st.sampled_from(sorted(MAY_BE_SERVED.get(asked, {*TIERS, "", "unheard of"}))))
    most = {
        name: size + data.draw(st.one_of(st.just(0), SMALL))
        for name, size in (("input_tokens", usage.input), ("output_tokens", usage.output))
    } | {"tool_calls": sum(calls.values()), "service_tier": asked}  # fmt: skip
    spent = cost(sheet.lines(usage, service_tier=served, tool_calls=calls))
    asked_for = {"code_interpreter_call" if kind == "container_call" else kind for kind in calls}
    for kinds in (asked_for, {"any"}, {*asked_for, "unheard_of_call"}):
        assert spent <= sheet.upper_bound(tool_kinds=kinds, **most)


@given(PRICES, SMALL, SMALL)
def test_the_bound_is_no_higher_than_the_dearest_split(price, read, written):
    exact = Fraction(read * price.dearest_input + written * price.dearest_output, 1000)
    assert exact <= PriceSheet(price).upper_bound(input_tokens=read, output_tokens=written) < exact + 1


@pytest.mark.parametrize(
    ("asked", "nano"), [("default", 4), ("flex", 4), ("priority", 8), ("fast", 8), ("auto", 9), ("", 9), ("scale", 9)]
)
def test_the_bound_is_that_of_the_tiers_which_asking_so_may_lead_to(asked, nano):
    sheet = PriceSheet.of(
        flat(4000), [("flex", 0, flat(2000)), ("priority", 0, flat(8000)), ("ultrafast", 0, flat(9000))]
    )
    assert sheet.upper_bound(input_tokens=1, output_tokens=0, service_tier=asked) == nano


def test_the_bound_has_the_dearest_output_reasoning_or_not():
    priority, thinking = TokenPrice(1000, 0, 0, 3000), TokenPrice(1000, 0, 0, 2000, reasoning=5000)
    sheet = PriceSheet.of(TokenPrice(1000, 0, 0, 2000), [("priority", 0, priority), ("ultrafast", 0, thinking)])
    for asked, nano in (("default", 2), ("priority", 3), ("auto", 5)):
        assert sheet.upper_bound(input_tokens=0, output_tokens=10, service_tier=asked) == 10 * nano


def test_the_bound_looks_only_at_brackets_in_reach():
    sheet = PriceSheet.of(flat(1000), [("default", 100, flat(5000))])
    assert sheet.upper_bound(input_tokens=100, output_tokens=0) == 100
    assert sheet.upper_bound(input_tokens=101, output_tokens=0) == 505


@pytest.mark.parametrize(
    ("kinds", "nano"),
    [
        ({"web_search_call"}, 10), ({"web_search_call", "code_interpreter_call"}, 30), ({"shell_call"}, 33), (set(), 0),
        ({"code_interpreter_call", "container_4g"}, 120), ({"function_call"}, 0), ({"any"}, 123),
    ],
)  # fmt: skip
def test_the_bound_of_a_call_is_that_of_the_dearest_tool_with_its_container(kinds, nano):
    tools = {"web_search": 10_000, "container": 30_000, "container_4g": 120_000, "shell": 3_000}
    sheet = PriceSheet.of(flat(0), (), tools)
    assert sheet.upper_bound(input_tokens=0, output_tokens=0, tool_calls=2, tool_kinds=kinds) == 2 * nano


@pytest.mark.parametrize(("read", "pico"), [(0, 1), (1, 1), (100, 1), (101, 2), (200, 2), (201, 3)])
def test_the_whole_request_is_billed_in_the_bracket_of_its_input(read, pico):
    sheet = PriceSheet.of(flat(1), [("default", 200, flat(3)), ("default", 100, flat(2))])
    lines = bill(sheet, TokenUsage(input=read, cached=read // 2, output=7))
    assert {line.price_pico_usd for line in lines} == {pico}
    assert {line.above_input_tokens for line in lines} == {(pico - 1) * 100}


@pytest.mark.parametrize(
    ("served", "tier", "pico"),
    [
        ("", "default", 4), ("auto", "default", 4), ("default", "default", 4), ("flex", "flex", 2),
        ("priority", "priority", 8), ("fast", "priority", 8), ("scale", "default", 4), ("unheard of", "default", 4),
    ],
)  # fmt: skip
def test_a_request_is_billed_by_the_tier_served(served, tier, pico):
    sheet = PriceSheet.of(flat(4), [("flex", 0, flat(2)), ("priority", 0, flat(8))])
    assert [(line.tier, line.price_pico_usd) for line in bill(sheet, TokenUsage(input=1), served)] == [(tier, pico)]
    flags = sheet.flags(service_tier=served, tool_calls={})
    assert flags == (("tier_unpriced",) if served in {"scale", "unheard of"} else ())


def test_a_tier_without_a_long_bracket_keeps_its_price():
    sheet = PriceSheet.of(flat(1), [("default", 100, flat(2)), ("priority", 0, flat(5))])
    assert bill(sheet, TokenUsage(input=101), "priority")[0].price_pico_usd == 5


def test_a_tier_for_long_requests_alone_leaves_the_others_to_the_default_one():
    sheet = PriceSheet.of(flat(1), [("default", 100, flat(2)), ("priority", 200, flat(5))])
    found = [bill(sheet, TokenUsage(input=read), "priority")[0] for read in (100, 101, 200, 201)]
    assert [(line.tier, line.price_pico_usd) for line in found] == [
        ("default", 1), ("default", 2), ("default", 2), ("priority", 5),
    ]  # fmt: skip


def test_calls_are_billed_by_the_tools_name():
    sheet = PriceSheet.of(flat(0), (), {"web_search": 10**10, "container_4g": 12 * 10**10, "mcp": 1})
    lines = bill(
        sheet, TokenUsage(), web_search_call=3, container_4g=1, file_search_call=2, code_interpreter_call=4, mcp_call=0
    )
    assert [(line.kind, line.quantity, line.amount_pico_usd) for line in lines] == [
        ("container_4g", 1, 12 * 10**10), ("web_search", 3, 3 * 10**10),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("calls", "is_flagged"),
    [
        ({"web_search_call": 1}, False), ({"file_search_call": 1}, True), ({"file_search_call": 0}, False),
        ({"function_call": 5, "mcp_call": 1, "code_interpreter_call": 2}, False), ({"container": 1}, True),
        ({"image_generation_call": 1}, True), ({"unheard_of_call": 1}, True),
    ],
)  # fmt: skip
def test_a_call_that_costs_and_has_no_price_is_flagged(calls, is_flagged):
    sheet = PriceSheet.of(flat(1), (), {"web_search": 0})
    assert sheet.flags(service_tier="", tool_calls=calls) == (("tool_unpriced",) if is_flagged else ())


def test_tokens_and_calls_are_rounded_together_once():
    sheet = PriceSheet.of(flat(300), (), {"web_search": 300})
    assert cost(bill(sheet, TokenUsage(input=1), web_search_call=1)) == 1
