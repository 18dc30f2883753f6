"""`manage.py set_quota`: how much an organization, a project or a key may use."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from billing.books import quotas
from billing.books.amounts import limit_of
from billing.models import Quota
from billing.prices.pricing import figure
from gateway.management.admin_command import AdminCommand
from gateway.management.scopes import key_known_as, organization_named, project_named

WINDOWS = {"day": "a day", "month": "a month", "forever": "for ever"}


class Command(AdminCommand):
    help = (
        "Sets a quota: requests that would exceed it are refused, or with --soft only counted. "
        "A new limit counts at once, for what was used before in this window too."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        scope = parser.add_mutually_exclusive_group(required=True)
        scope.add_argument("--organization", metavar="NAME")
        scope.add_argument("--project", metavar="ORGANIZATION/NAME")
        scope.add_argument("--key", metavar="KEY", help="a key's name, hint or id; not the key itself")
        parser.add_argument("--metric", required=True, choices=Quota.Metric.values)
        parser.add_argument(
            "--window", required=True, choices=Quota.Period.values, help="a calendar day or month where they are"
        )
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--limit", metavar="N", help="USD for cost, e.g. 25 or 0.50; else a whole number")
        what.add_argument("--remove", action="store_true", help="retire the quota instead")
        parser.add_argument("--soft", action="store_true", help="count what exceeds it, and refuse nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        scope = self._scope(options)
        if options["remove"]:
            self._remove(scope, options["metric"], options["window"])
            return
        try:
            limit = limit_of(options["metric"], options["limit"])
        except ValueError as error:
            raise CommandError(f"--limit {error}") from error
        quota = quotas.set_quota(scope, options["metric"], options["window"], limit, is_hard=not options["soft"])
        self._tell(quota)

    def _scope(self, options: dict[str, Any]) -> quotas.Scope:
        if options["organization"] is not None:
            return organization_named(options["organization"])
        return project_named(options["project"]) if options["project"] is not None else key_known_as(options["key"])

    def _remove(self, scope: quotas.Scope, metric: str, window: str) -> None:
        quota = quotas.find(scope, metric, window)
        if quota is None or not quotas.retire(quota):
            raise CommandError(f"{scope} has no {metric} quota for {window}: manage.py balance lists what there is.")
        quota.refresh_from_db()
        self._tell(quota)

    def _tell(self, quota: Quota) -> None:
        payload = {
            "id": quota.id, "level": quota.level, "name": str(quota.scope), "metric": quota.metric,
            "window": quota.period, "limit": quota.limit_amount, "hard": quota.is_hard,
            "retired_at": quota.retired_at,
        }  # fmt: skip
        allowed = f"{figure(quota.metric, quota.limit_amount)} {WINDOWS[quota.period]}"
        if quota.retired_at:
            text = f"{quota.scope} has no quota of {allowed} any more."
        elif quota.is_hard:
            text = f"{quota.scope} may use {allowed}; what would exceed it is refused."
        else:
            text = f"{quota.scope} should use {allowed}; what exceeds it is counted and not refused."
        self.answer(payload, text)
