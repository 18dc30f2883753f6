"""`manage.py set_price`: what a model's tokens cost from a time on."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from django.utils import timezone

from billing.models import Price
from billing.pricing import usd_per_million
from gateway.management.admin_command import AdminCommand
from gateway.management.arguments import moment, price
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
        parser.add_argument("--effective", type=moment, metavar="ISO", help="from when on, UTC (default: now)")

    def handle(self, *args: Any, **options: Any) -> None:
        cached, written = options["cached_input"], options["cache_write"]
        new = Price(
            model=options["model"],
            effective_from=options["effective"] or timezone.now(),
            input_pico_usd=options["input"],
            cached_input_pico_usd=options["input"] if cached is None else cached,
            cache_write_pico_usd=options["input"] if written is None else written,
            output_pico_usd=options["output"],
        )
        if Price.objects.filter(model=new.model, effective_from=new.effective_from).exists():
            raise CommandError(f"{new} has a price already, and prices are not edited: choose another --effective.")
        new.full_clean()
        new.save()
        self.answer(self._payload(new), self._text(new))

    def _payload(self, new: Price) -> dict[str, Any]:
        return {
            "id": new.id, "model": new.model, "effective_from": new.effective_from,
            "input_pico_usd": new.input_pico_usd, "cached_input_pico_usd": new.cached_input_pico_usd,
            "cache_write_pico_usd": new.cache_write_pico_usd, "output_pico_usd": new.output_pico_usd,
        }  # fmt: skip

    def _text(self, new: Price) -> str:
        rows = [
            (kind, f"{usd_per_million(pico).normalize():f}")
            for kind, pico in (
                ("input", new.input_pico_usd),
                ("cached input", new.cached_input_pico_usd),
                ("cache write", new.cache_write_pico_usd),
                ("output", new.output_pico_usd),
            )
        ]
        start = f"{new.effective_from:%Y-%m-%d %H:%M:%S %Z}"
        return f"{new.model} costs from {start} on, in USD per million tokens:\n{details(rows)}"
