"""`manage.py end_credit`: from prepaid to postpaid."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from billing.books import quotas
from billing.prices.pricing import figure
from gateway.management.admin_command import AdminCommand
from gateway.management.scopes import organization_named


class Command(AdminCommand):
    help = (
        "Makes a prepaid organization postpaid again: nothing is refused for want of credit. "
        "What is left of its credit stays in the ledger, and counts again from its next grant on."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--organization", required=True, metavar="NAME")

    def handle(self, *args: Any, **options: Any) -> None:
        organization = organization_named(options["organization"])
        left = quotas.end_credit(organization)
        if left is None:
            raise CommandError(f"{organization} is postpaid: there is no credit to end.")
        payload = {"organization": organization.name, "prepaid": False, "left": left}
        self.answer(payload, f"{organization} is postpaid; {figure('cost', left)} of its credit stay in the ledger.")
