"""`manage.py grant_credit`: prepaid credit."""

from typing import Any

from billing.books import ledger
from gateway.management.gift import GiftCommand


class Command(GiftCommand):
    help = (
        "Grants an organization prepaid credit. From its first grant on it is refused what its credit does not cover."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        organization, amount = self.asked(options)
        credit = ledger.grant(organization, amount, options["reason"])
        self.tell(organization, amount, credit, "granted")
