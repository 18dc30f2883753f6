import pytest

from billing.templatetags import figures


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "$0.00"), (123_000, "$0.000123"), (1, "$0.000000001"), (100_000_000, "$0.10"),
        (9_129_792_800, "$9.1297928"), (1_204_180_000_000, "$1,204.18"),
        (-5_000_000_000, "-$5.00"), (2**62, "$4,611,686,018.427387904"), (None, "–"),
    ],
)  # fmt: skip
def test_money_is_exact(nano, text):
    assert figures.usd(nano) == text


@pytest.mark.parametrize("nano", [0, 1, 123_000, 100_000_000, 9_129_792_800])
def test_the_decimal_points_of_a_column_stand_in_line(nano):
    shown = figures.usd(nano) + figures.usd_padding(nano).removeprefix(
        '<span class="padding" aria-hidden="true">'
    ).removesuffix("</span>")

    assert len(shown.partition(".")[2]) == 9


@pytest.mark.parametrize(("nano", "text"), [(999_999, "$0.000999999"), (9_129_792_800, "$9.13"), (10**12, "$1,000.00")])
def test_a_headline_is_to_the_cent_from_a_dollar_on(nano, text):
    assert figures.usd_rounded(nano) == text


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ({"kind": "cached_input", "price_pico_usd": 125_000}, "cached input: 2 000 x $0.125 per million = $0.00025"),
        (
            {"kind": "output", "price_pico_usd": 5_000_000, "tier": "flex", "above_input_tokens": 272_000},
            "flex output above 272 000: 2 000 x $5.00 per million = $0.01",
        ),
        ({"kind": "web_search", "price_pico_usd": 10**10}, "web search: 2 000 x $0.01 each = $20.00"),
    ],
)
def test_a_line_of_a_bill_says_how_its_amount_came_about(line, text):
    line = {**line, "quantity": 2000, "amount_pico_usd": 2000 * line["price_pico_usd"]}
    assert figures.bill_line(line).replace("\u202f", " ") == text


def test_a_line_of_a_bill_is_exact_to_the_pico():
    assert figures.usd_of_pico(1_000_000_000_001) == "$1.000000000001"


@pytest.mark.parametrize(("number", "text"), [(0, "0"), (999, "999"), (41_250_112, "41 250 112"), (None, "–")])
def test_counts_have_thin_separators(number, text):
    assert figures.count(number).replace("\u202f", " ") == text


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(None, "–"), (0, "0 ms"), (999, "999 ms"), (1912, "1.91 s"), (59_990, "59.99 s"), (74_000, "1 min 14 s")],
)
def test_durations_have_their_unit(milliseconds, text):
    assert figures.duration(milliseconds).replace("\u202f", " ") == text


@pytest.mark.parametrize(
    ("part", "whole", "percent", "width"),
    [(0, 0, "0 %", 0), (0, 9, "0 %", 0), (1, 1000, "<1 %", 1), (2, 3, "67 %", 67), (3, 3, "100 %", 100)],
)
def test_what_is_there_at_all_is_seen(part, whole, percent, width):
    assert figures.percent_of(part, whole).replace("\u202f", " ") == percent
    assert figures.share(part, whole) == width
