"""Figures as people read them: exact money, tokens with thin separators, durations."""

from decimal import Decimal
from typing import Any

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from billing.prices import pricing

NARROW_SPACE = "\N{NARROW NO-BREAK SPACE}"
NOTHING = "\N{EN DASH}"

register = template.Library()


@register.filter
def usd(nano: int | None) -> str:
    """Nano-USD exactly, from two decimals to nine: `$1,204.18`, `$0.000123`."""
    return NOTHING if nano is None else _dollars(pricing.usd(nano))


@register.filter
def usd_padding(nano: int) -> SafeString:
    """Unseen zeros after `usd` to nine decimals, so that a column's decimal points stand in line."""
    decimals = usd(nano).partition(".")[2]
    return format_html('<span class="padding" aria-hidden="true">{}</span>', "0" * (9 - len(decimals)))


@register.filter
def usd_rounded(nano: int) -> str:
    """Nano-USD for a headline: to the cent from a dollar on, exact below. The exact sum stands beside it."""
    return f"${pricing.usd(nano):,.2f}" if abs(nano) >= pricing.NANO_PER_USD else usd(nano)


@register.filter
def usd_per_million(pico: int | None) -> str:
    """Pico-USD per token as USD per million tokens, exactly."""
    return NOTHING if pico is None else _dollars(pricing.usd_per_million(pico))


@register.filter
def usd_per_thousand(pico: int | None) -> str:
    """Pico-USD per call of a tool as USD per thousand calls, exactly."""
    return NOTHING if pico is None else _dollars(pricing.usd_per_thousand(pico))


def bill_line(line: dict[str, Any]) -> str:
    """A price line of a record: `flex input above 272 000: 12 x $1.25 per million = $0.000015`."""
    tier, above = line.get("tier"), line.get("above_input_tokens")
    name = " ".join(filter(None, (tier, line["kind"].replace("_", " "), f"above {count(above)}" if above else "")))
    is_call = line["kind"] not in pricing.TOKEN_KINDS
    price = line["price_pico_usd"]
    each = f"{usd_of_pico(price)} each" if is_call else f"{usd_per_million(price)} per million"
    return f"{name}: {count(line['quantity'])} x {each} = {usd_of_pico(line['amount_pico_usd'])}"


@register.filter
def usd_of_pico(pico: int) -> str:
    """Pico-USD exactly, up to twelve decimals: the amount of a price line."""
    return _dollars(Decimal(pico) / (pricing.NANO_PER_USD * pricing.PICO_PER_NANO))


@register.filter
def count(number: int | None) -> str:
    """41250112 -> 41 250 112, with narrow spaces."""
    return NOTHING if number is None else f"{number:,}".replace(",", NARROW_SPACE)


@register.filter
def duration(milliseconds: int | None) -> str:
    """412 -> 412 ms, 1912 -> 1.91 s, 74000 -> 1 min 14 s."""
    if milliseconds is None:
        return NOTHING
    if milliseconds < 1000:
        return f"{milliseconds}{NARROW_SPACE}ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:.2f}{NARROW_SPACE}s"
    minutes, seconds = divmod(milliseconds // 1000, 60)
    return f"{minutes}{NARROW_SPACE}min {seconds}{NARROW_SPACE}s"


@register.filter
def percent_of(part: int, whole: int) -> str:
    """67 %; nothing of nothing is 0."""
    share = 100 * part / whole if whole else 0
    return f"{share:.0f}{NARROW_SPACE}%" if share >= 1 or not part else f"<1{NARROW_SPACE}%"


@register.filter
def share(part: int, whole: int) -> int:
    """0 to 100, for the width of a bar; what is there at all is seen."""
    return max(1, round(100 * part / whole)) if part and whole else 0


def _dollars(amount: Decimal) -> str:
    sign = "-" if amount < 0 else ""
    whole, _, decimals = f"{abs(amount):,f}".partition(".")
    return f"{sign}${whole}.{decimals.rstrip('0').ljust(2, '0')}"
