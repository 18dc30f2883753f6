"""`manage.py refund`: what was charged, given back."""

from typing import Any

from billing.books import ledger
from gateway.management.gift import GiftCommand


class Command(GiftCommand):
    help = "Gives an organization back what it was charged: booked in the ledger, added to its prepaid credit."

    def handle(self, *args: Any, **options: Any) -> None:
        organization, amount = self.asked(options)
        credit = ledger.refund(organization, amount, options["reason"])
        self.tell(organization, amount, credit, "given back")
