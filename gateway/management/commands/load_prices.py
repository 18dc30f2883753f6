"""`manage.py load_prices`: the prices that come with Tollgate, for models that have none yet."""

from argparse import ArgumentParser
from typing import Any

from django.db import transaction
from django.utils import timezone

from accounts.patterns import most_specific
from billing.models import Price
from billing.prices.starter_prices import StarterPrices, starter_prices
from gateway.management.admin_command import AdminCommand


class Command(AdminCommand):
    help = "Adds the starter list's prices, from now on, for models that no price of yours covers. Changes none."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--dry-run", action="store_true", help="say what would be added, and add nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        listed = starter_prices()
        patterns = set(Price.objects.values_list("model", flat=True))
        covered = {name: most_specific(patterns, name) for name in listed.sheets}
        added = [name for name, pattern in covered.items() if pattern is None]
        if not options["dry_run"]:
            _enter(listed, added)
        left = {name: pattern for name, pattern in covered.items() if pattern is not None}
        payload = {
            "as_of": listed.as_of, "source": listed.source, "dry_run": options["dry_run"], "added": added,
            "left": left,
        }  # fmt: skip
        self.answer(payload, _text(listed, added, left, is_dry=options["dry_run"]))


@transaction.atomic
def _enter(listed: StarterPrices, names: list[str]) -> None:
    now = timezone.now()
    for name in names:
        Price.objects.enter(name, now, listed.sheets[name])


def _text(listed: StarterPrices, added: list[str], left: dict[str, str], *, is_dry: bool) -> str:
    lines = [f"Prices as of {listed.as_of}, from {listed.source}"]
    lines += [f"  {'would add' if is_dry else 'added'} {name}" for name in added]
    lines += [
        f"  left {name}, which has a price" if pattern == name else f"  left {name}, which has the price of {pattern}"
        for name, pattern in left.items()
    ]
    lines.append(f"{len(added)} {'to add' if is_dry else 'added'}, {len(left)} left. Check them against your contract.")
    return "\n".join(lines)
