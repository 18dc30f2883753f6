"""`manage.py balance`: what is left of an organization's quotas and credit."""

from argparse import ArgumentParser
from typing import Any

from billing.books.quotas import Balance, balances
from billing.prices.pricing import figure
from gateway.management.admin_command import AdminCommand
from gateway.management.scopes import organization_named
from gateway.management.table import table


class Command(AdminCommand):
    help = "Shows all quotas of an organization, its projects and keys: what is used, held by open requests, and left."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--organization", required=True, metavar="NAME")

    def handle(self, *args: Any, **options: Any) -> None:
        organization = organization_named(options["organization"])
        quotas = balances(organization)
        prepaid = any(quota["credit"] for quota in quotas)
        payload = {"organization": organization.name, "prepaid": prepaid, "quotas": quotas}
        title = f"{organization} is {'prepaid' if prepaid else 'postpaid'}"
        if not quotas:
            self.answer(payload, f"{title} and has no quotas: manage.py set_quota sets one.")
            return
        self.answer(payload, f"{title}.\n\n{_text(quotas)}")


def _text(quotas: list[Balance]) -> str:
    rows: list[tuple[object, ...]] = [
        ("level", "name", "metric", "window", "kind", "limit", "used", "held", "left", "renews (UTC)")
    ]
    for quota in quotas:
        kind = "credit" if quota["credit"] else "hard" if quota["hard"] else "soft"
        amounts = (figure(quota["metric"], quota[name]) for name in ("limit", "posted", "held", "left"))
        renews = f"{quota['renews_at']:%Y-%m-%d %H:%M}" if quota["renews_at"] else "never"
        rows.append((quota["level"], quota["name"], quota["metric"], quota["window"], kind, *amounts, renews))
    return table(rows)
