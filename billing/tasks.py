"""Celery's shells around the books."""

from datetime import timedelta

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from billing.books import ledger, ratios, reconcile


@shared_task
def post_settled() -> None:
    ledger.post_settled()


@shared_task
def make_partitions() -> None:
    ledger.make_partitions()


@shared_task
def measure_ratios() -> None:
    ratios.measure()


@shared_task
def reconcile_recent() -> None:
    """What changed since the last run but one, so that nothing falls between two."""
    since = timezone.now() - 2 * timedelta(seconds=settings.RECONCILE_SECONDS)
    reconcile.raise_alarms(reconcile.reconcile(since))


@shared_task
def reconcile_everything() -> None:
    reconcile.raise_alarms(reconcile.reconcile())
