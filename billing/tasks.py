"""Celery's shells around the books."""

from celery import shared_task

from billing import ledger, ratios


@shared_task
def post_settled() -> None:
    ledger.post_settled()


@shared_task
def make_partitions() -> None:
    ledger.make_partitions()


@shared_task
def measure_ratios() -> None:
    ratios.measure()
