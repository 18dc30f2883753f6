"""`manage.py set_price`: what a model costs from a time on."""

from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.core.management.base import CommandError
from django.utils import timezone

from billing.models import Price, token_price_columns
from billing.prices.price_change import leaps
from billing.prices.pricing import DEFAULT_TIER, PriceSheet, TokenPrice
from gateway.management.admin_command import AdminCommand
from gateway.management.arguments import bracket_price, moment, price, tool_price
from gateway.management.price_text import rows_of
from gateway.management.table import details


class Command(AdminCommand):
    help = "Sets a model's prices in USD per million tokens. What was billed before keeps the price it had."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--model", required=True, help="a name, or a pattern such as gpt-*")
        parser.add_argument("--input", type=price, required=True, metavar="D")
        parser.add_argument("--cached-input", type=price, metavar="D", help="default: as input")
        parser.add_argument("--cache-write", type=price, metavar="D", help="default: as input")
        parser.add_argument("--output", type=price, required=True, metavar="D")
        parser.add_argument("--reasoning", type=price, metavar="D", help="where priced apart (default: as output)")
        parser.add_argument("--above", nargs="+", action="append", default=[], metavar=("TOKENS", "KIND=D"), help=(
            "prices of requests with more input tokens, e.g. --above 272000 input=4 cached-input=0.4 output=12"
        ))  # fmt: skip
        parser.add_argument("--tier", nargs="+", action="append", default=[], metavar=("NAME", "KIND=D"), help=(
            "prices of another service tier, e.g. --tier flex input=1 output=4; above=272000 among them makes it a "
            "long-context price of that tier"
        ))  # fmt: skip
        parser.add_argument("--tool", type=tool_price, action="append", default=[], metavar="NAME=D/1k", help=(
            "USD per 1,000 calls of web_search, file_search, container, ...; NAME=D/call for USD per call"
        ))  # fmt: skip
        parser.add_argument("--effective", type=moment, metavar="ISO", help="from when on, UTC (default: now)")
        parser.add_argument("--confirm", action="store_true", help="a price that changes more than fivefold is meant")

    def handle(self, *args: Any, **options: Any) -> None:
        model, start = options["model"], options["effective"] or timezone.now()
        sheet = _sheet(options)
        if Price.objects.filter(model=model, effective_from=start).exists():
            raise CommandError(
                f"{Price(model=model, effective_from=start)} has a price already, and prices are not edited: "
                "choose another --effective."
            )
        before = Price.objects.before(model, start)
        leaping = leaps(before.sheet, sheet) if before and not options["confirm"] else ()
        if leaping:
            raise CommandError(
                f"More than a fivefold change against {before}: {'; '.join(map(str, leaping))}. "
                "If that is meant, pass --confirm."
            )
        new = Price.objects.enter(model, start, sheet)
        self.answer(_payload(new, sheet), _text(new, sheet))


def _sheet(options: dict[str, Any]) -> PriceSheet:
    cached, written = options["cached_input"], options["cache_write"]
    base = TokenPrice(
        input=options["input"],
        cached_input=options["input"] if cached is None else cached,
        cache_write=options["input"] if written is None else written,
        output=options["output"],
        reasoning=options["reasoning"],
    )
    try:
        variants = [bracket_price(DEFAULT_TIER, [f"above={tokens}", *words]) for tokens, *words in options["above"]]
        variants += [bracket_price(tier, words) for tier, *words in options["tier"]]
        if len(dict(options["tool"])) < len(options["tool"]):
            raise ValueError("A tool has two prices.")
        return PriceSheet.of(base, variants, dict(options["tool"])).checked()
    except (ArgumentTypeError, ValueError) as error:
        raise CommandError(str(error)) from None


def _payload(new: Price, sheet: PriceSheet) -> dict[str, Any]:
    """Empty parts are left out."""
    variants = [
        {
            "service_tier": tier, "above_input_tokens": bracket.above_input_tokens,
            **_written(token_price_columns(bracket.price)),
        }
        for tier, brackets in sheet.tiers.items() for bracket in brackets
    ]  # fmt: skip
    parts = {"variants": variants, "tools_pico_usd": dict(sheet.tools)}
    return {
        "id": new.id, "model": new.model, "effective_from": new.effective_from,
        **_written(token_price_columns(sheet.base)), **{name: part for name, part in parts.items() if part},
    }  # fmt: skip


def _written(columns: dict[str, int | None]) -> dict[str, int]:
    return {name: pico for name, pico in columns.items() if pico is not None}


def _text(new: Price, sheet: PriceSheet) -> str:
    start = f"{new.effective_from:%Y-%m-%d %H:%M:%S %Z}"
    return f"{new.model} costs from {start} on, in USD per million tokens:\n{details(rows_of(sheet))}"
