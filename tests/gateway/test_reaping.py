"""Hosts that are gone for good: who counts as lost, and how what it left open ends (billing/recovery/reaping.py)."""

import threading
import uuid
from datetime import timedelta

import httpx
import pytest
from django.db import connection
from django.db.models.functions import Now

from billing.models import Adjustment, Process, UsageRecord
from billing.record import Progress, Seen
from billing.recovery import reaping
from gateway.models import Upstream
from gateway.tasks import reap_lost_hosts
from tests import plane_database
from tests.billing.books import Books
from tests.tenants import UPSTREAM_KEY

LOOK, SILENT = 30, 600  # seconds, as shipped


@pytest.fixture
def books(catalog, committed):
    books = Books(plane_database.url())
    yield books
    books.clear()
    books.close()


@pytest.fixture
def reap(settings, committed):
    settings.DATABASE_URL = plane_database.url()
    settings.HOST_LOOK_SECONDS, settings.HOST_SILENT_SECONDS = LOOK, SILENT
    Process.objects.all().delete()
    return reap_lost_hosts


def process(host_id=None):
    return Process.objects.create(id=uuid.uuid4(), host_id=host_id or uuid.uuid4())


def held(books, process, **fields):
    """An open request of that process, admitted long ago."""
    upstream = Upstream.objects.get(name="simulator")
    hold = books.hold(process_id=process.id, upstream_id=upstream.id, request_bytes=41, **fields)
    books.write([hold])
    books.execute("UPDATE billing_hold SET created_at = now() - interval '1 day' WHERE id = %s", hold.id)
    return hold


def marked(books, hold, response_id, deltas):
    mark = Progress(id=hold.id, response_id=response_id, progress=Seen(deltas, "default", "served"))
    books.mark(mark)


def ago(seconds):
    """By the database's clock."""
    return Now() - timedelta(seconds=seconds)


def later(seconds):
    """So much time goes by since the last look."""
    Process.objects.update(looked_at=ago(seconds))


def beat(*processes):
    Process.objects.filter(id__in=[it.id for it in processes]).update(heartbeat_at=Now())


def looks(reap, seconds, *alive):
    """The reaper comes for so long, every LOOK seconds, while some processes show that they live."""
    reap()
    for _ in range(seconds // LOOK):
        later(LOOK)
        beat(*alive)
        reap()


def test_what_a_lost_host_left_open_is_ended_by_what_the_database_knows(books, reap, upstream):
    lost = process()
    headers = {"authorization": f"Bearer {UPSTREAM_KEY}"}  # what is stored is its account's
    answer = httpx.post(f"{upstream.url}/responses", headers=headers, json={"model": "sim-ok", "input": "Hi"}).json()
    complete, begun, sent = (held(books, lost) for _ in range(3))
    marked(books, complete, answer["id"], 2)
    marked(books, begun, "resp_unknown", 7)
    looks(reap, SILENT - LOOK)
    assert books.state(begun) == "pending"
    looks(reap, 2 * LOOK)
    ends = {hold: (record["state"], record["usage_source"], record["flags"], record["output_tokens"])
            for hold, record in ((hold, books.record(hold)) for hold in (complete, begun, sent))}  # fmt: skip
    assert ends[complete] == ("settled", "recovered", [], answer["usage"]["output_tokens"])
    assert ends[begun] == ("settled", "estimated", ["host_lost"], 7)
    assert ends[sent] == ("settled", "estimated", ["host_lost", "unanswered"], 0)
    assert Process.objects.get(id=lost.id).stopped_at


def test_an_outage_of_the_database_or_of_celery_is_no_silence(books, reap):
    silent = process()
    hold = held(books, silent)
    reap()
    later(24 * 3600)
    reap()
    assert books.state(hold) == "pending"
    assert Process.objects.get(id=silent.id).silent_seconds == pytest.approx(2 * LOOK)


def test_a_sign_of_life_ends_the_silence(books, reap):
    slow = process()
    hold = held(books, slow)
    for _ in range(3):
        looks(reap, SILENT - 2 * LOOK)
        beat(slow)
    assert books.state(hold) == "pending"


def test_a_host_of_which_one_process_lives_is_left_to_it(books, reap):
    host_id = uuid.uuid4()
    dead, neighbour = process(host_id), process(host_id)
    hold = held(books, dead)
    looks(reap, 2 * SILENT, neighbour)
    assert books.state(hold) == "pending"
    looks(reap, SILENT, neighbour)  # its spool must be gone: nobody came to it for so long
    assert books.record(hold)["flags"] == ["host_lost", "unanswered"]
    assert Process.objects.get(id=neighbour.id).stopped_at is None


def test_requests_of_a_process_that_nobody_heard_of_are_ended_once_they_are_old(books, reap):
    unheard = Process(id=uuid.uuid4())
    old, young = held(books, unheard), held(books, unheard)
    books.execute("UPDATE billing_hold SET created_at = now() WHERE id = %s", young.id)
    reap()
    assert (books.state(old), books.state(young)) == ("settled", "pending")


def test_what_a_stopped_process_left_open_is_ended(books, reap):
    stopped = process()
    hold = held(books, stopped)
    Process.objects.filter(id=stopped.id).update(stopped_at=ago(SILENT - LOOK))
    reap()
    assert books.state(hold) == "pending"
    Process.objects.filter(id=stopped.id).update(stopped_at=ago(SILENT + LOOK))
    reap()
    assert books.state(hold) == "settled"


def test_processes_are_forgotten_a_week_after_they_stopped(books, reap):
    recent, old, owing = process(), process(), process()
    for it, days in ((recent, 6), (old, 8), (owing, 8)):
        Process.objects.filter(id=it.id).update(stopped_at=ago(days * 86400))
    held(books, owing)
    known = Process.objects.filter(id__in=[recent.id, old.id, owing.id])  # other tests' gateways beat beside
    reaping.close(SILENT)
    assert set(known.values_list("id", flat=True)) == {recent.id, owing.id}
    reap()  # what it owes is ended first
    assert set(known.values_list("id", flat=True)) == {recent.id}


def test_two_reapers_at_the_same_orphans_make_one_record_each(books, reap):
    """F25."""
    lost = process()
    looks(reap, SILENT)
    holds = [held(books, lost) for _ in range(120)]
    for hold in holds[::2]:
        marked(books, hold, "resp_unknown", 5)
    Process.objects.filter(id=lost.id).update(stopped_at=None)
    errors = []

    def run():
        try:
            reap()
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    reapers = [threading.Thread(target=run) for _ in range(3)]
    for reaper in reapers:
        reaper.start()
    for reaper in reapers:
        reaper.join(60)
    assert not errors
    assert all(books.open(hold) is None for hold in holds)
    ids = [hold.id for hold in holds]
    assert UsageRecord.objects.filter(id__in=ids).count() == len(ids)
    assert not Adjustment.objects.filter(record_id__in=ids).exists()
