"""What beat sends is known to the worker, and is not lost with beat's memory."""

from datetime import timedelta

import pytest
from celery.schedules import crontab

from gateway.celery import app

HOUR = timedelta(hours=1)
app.autodiscover_tasks(force=True)  # as the worker does at its start
ENTRIES = app.conf.beat_schedule


@pytest.mark.parametrize("name", ENTRIES)
def test_the_worker_knows_each_task_of_the_schedule(name):
    assert ENTRIES[name]["task"] in app.tasks


@pytest.mark.parametrize("name", ENTRIES)
def test_a_beat_that_is_started_anew_every_day_loses_no_task(name):
    """It counts from its start: what has a period as long as its life would never come."""
    schedule = ENTRIES[name]["schedule"]
    assert isinstance(schedule, crontab) or timedelta(seconds=schedule) <= HOUR


def test_beat_gives_its_sign_and_keeps_no_more(settings, tmp_path):
    settings.BEAT_SIGN = tmp_path / "beat"
    scheduler = app.Beat().scheduler_cls
    assert scheduler == "gateway.beat:Scheduler"
    service = app.Beat().Service(app, scheduler_cls=scheduler)
    service.scheduler.sync()
    service.scheduler.close()
    assert [path.name for path in tmp_path.iterdir()] == ["beat"]
