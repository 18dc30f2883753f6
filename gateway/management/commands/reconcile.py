"""`manage.py reconcile`: whether the books balance."""

from collections.abc import Sequence
from typing import Any

from django.core.management.base import CommandError

from billing.books.reconcile import Check, reconcile
from gateway.management.admin_command import AdminCommand
from gateway.management.table import table


class Command(AdminCommand):
    help = "Checks all books in one snapshot, and names each breach; the exit code is 1 where there is one."

    def handle(self, *args: Any, **options: Any) -> None:
        checks = reconcile()
        found = sum(check.found for check in checks)
        self.answer({"ok": found == 0, "checks": [_of(check) for check in checks]}, _text(checks))
        if found:
            raise CommandError(
                f"The books do not balance, breaches: {found}. docs/reconcile.md says what each means and what to do."
            )


def _of(check: Check) -> dict[str, Any]:
    """`found` counts what `breaches` may have no room to name."""
    return {
        "name": check.name,
        "invariant": check.invariant,
        "checked": check.checked,
        "found": check.found,
        "breaches": [{"id": breach.id, "what": breach.what} for breach in check.breaches],
    }


def _text(checks: Sequence[Check]) -> str:
    rows: list[tuple[object, ...]] = [("check", "invariant", "checked", "breaches")]
    rows += [(check.name, check.invariant, check.checked, check.found) for check in checks]
    rows.append(("all", "", sum(check.checked for check in checks), sum(check.found for check in checks)))
    named = [
        "\n".join([f"\n{check.name}", *(f"  {breach.id}: {breach.what}" for breach in check.breaches), *_more(check)])
        for check in checks
        if not check.ok
    ]
    return "\n".join([table(rows), *named])


def _more(check: Check) -> list[str]:
    more = check.found - len(check.breaches)
    return [f"  and {more:,} more"] if more else []
