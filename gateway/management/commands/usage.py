"""`manage.py usage`: what was used, by whom, and what it cost."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from accounts.models import Organization
from billing.books.reports import Usage, usage
from billing.prices.pricing import usd
from gateway.management.admin_command import AdminCommand
from gateway.management.arguments import moment
from gateway.management.table import table


class Command(AdminCommand):
    help = "Shows requests, tokens and cost by key and model, up to the last request that ended."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--organization", metavar="NAME", help="only this one (default: all)")
        parser.add_argument(
            "--since", type=moment, metavar="ISO", help="date or time, UTC, counted from the start of its hour"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        organization = None
        if options["organization"] is not None:
            organization = Organization.objects.filter(name=options["organization"]).first()
            if organization is None:
                raise CommandError(f"There is no organization {options['organization']!r}: the admin lists them.")
        found = usage(organization=organization, since=options["since"])
        self.answer(found, _text(found))


def _text(found: Usage) -> str:
    title = f"Since {found['since']}" if found["since"] else "Since the beginning"
    if not found["rows"]:
        return f"{title}: no usage."
    rows: list[tuple[object, ...]] = [
        ("organization", "project", "key", "model", "requests", "voided", "input tokens", "output tokens", "USD")
    ]
    rows += [(row["organization"], row["project"], row["key"], row["model"], *_numbers(row)) for row in found["rows"]]
    rows.append(("total", "", "", "", *_numbers(found["total"])))
    return f"{title}\n\n{table(rows)}"


def _numbers(row: dict[str, Any]) -> tuple[object, ...]:
    return row["requests"], row["voided"], row["input_tokens"], row["output_tokens"], usd(row["cost_nano_usd"])
