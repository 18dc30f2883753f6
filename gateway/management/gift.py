"""What `grant_credit` and `refund` share."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from accounts.models import Organization
from billing.books.amounts import nano_usd
from billing.models import Quota
from billing.prices.pricing import figure
from gateway.management.admin_command import AdminCommand
from gateway.management.scopes import organization_named


class GiftCommand(AdminCommand):
    """An amount that an organization is given for a reason."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--organization", required=True, metavar="NAME")
        parser.add_argument("--amount", required=True, metavar="D", help="in USD, e.g. 25 or 0.50")
        parser.add_argument("--reason", required=True, metavar="TEXT", help="what it is for; kept in the ledger")

    def asked(self, options: dict[str, Any]) -> tuple[Organization, int]:
        """To whom, and how many nano-USD."""
        try:
            return organization_named(options["organization"]), nano_usd(options["amount"])
        except ValueError as error:
            raise CommandError(f"--amount {error}") from error

    def tell(self, organization: Organization, amount: int, credit: Quota | None, verb: str) -> None:
        payload = {
            "organization": organization.name, "amount": amount, "prepaid": credit is not None,
            "limit": credit and credit.limit_amount,
        }  # fmt: skip
        given = f"{organization} was {verb} {figure('cost', amount)}"
        if credit is None:
            self.answer(payload, f"{given}, in the ledger alone: it is postpaid.")
        else:
            self.answer(payload, f"{given}; in all its credit was {figure('cost', credit.limit_amount)}.")
