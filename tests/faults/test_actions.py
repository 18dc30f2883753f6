"""Other faults than death: a process that stops, a step that fails, a task that is cancelled, a full disk."""

import os
import signal
import uuid
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from billing.models import Adjustment, Price, Process, token_price_columns
from gateway.models import Upstream
from gateway.tasks import reap_lost_hosts
from tests import plane_database
from tests.faults.books import UpstreamsLog, assert_books_balance, assert_one_record_each, funded, records_of
from tests.faults.load import MIXED, Clients
from tests.tenants import PRICE, add_model, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

# Where a step may fail, or its task be cancelled, and the process lives on.
OF_A_REQUEST = [
    "hold.before", "hold.after", "dispatch.after", "answer.begun", "event.passed", "ending.read", "final.spooled",
    "settle.after", "ending.sent",
]  # fmt: skip
FAILING = [*((point, "raise") for point in OF_A_REQUEST), ("metering.sent", "raise"), ("metering.answered", "raise")]
CANCELLED = [(point, "cancel") for point in OF_A_REQUEST]


@pytest.mark.parametrize(
    "faults",
    [FAILING[::2], FAILING[1::2], CANCELLED[::2], CANCELLED[1::2]],
    ids=["raise-F8", "raise", "cancel-F27", "cancel-F27-too"],
)
def test_a_step_that_fails_or_is_cancelled_leaves_nothing_open(host, upstream, faults):
    log = UpstreamsLog(upstream)
    armed = ",".join(f"{point}={action}@{nth}" for nth, (point, action) in enumerate(faults, start=3))
    with host.process(armed) as process:
        tenant = funded("failing", process.url)
        clients = Clients(tenant)
        clients.ask_each(MIXED * 2)
        records = records_of(tenant)
        assert process.process.exit_code() is None
    assert_one_record_each(records, log.requests(), clients.told)
    assert_books_balance(tenant)


def test_a_disk_that_is_full_stops_admissions_and_open_streams_are_settled(host, upstream):
    """F21."""
    log = UpstreamsLog(upstream)
    with host.process("spool.write=full@5") as process:  # hold: dispatched, opened, progress; then dispatched, opened
        tenant = funded("full", process.url)
        with tenant.stream("sim-hold-0-8") as held:
            lines = held.iter_lines()
            next(lines)
            assert tenant.ask("sim-ok", stream=True).status_code == 200
            refused = tenant.ask("sim-ok")
            assert (refused.status_code, refused.headers["x-should-retry"]) == (503, "true")
            upstream.release()
            assert any('"response.completed"' in line for line in lines)
        until(lambda: tenant.ask("sim-ok").status_code == 200)
        records = records_of(tenant)
    assert {record.usage_source for record in records} == {"reported"}
    assert_one_record_each(records, log.requests(), {})
    assert_books_balance(tenant)


@pytest.fixture
def reaper(settings, committed):
    """The reaper's task, as Celery would run it, with a look each time it is called."""
    settings.DATABASE_URL = plane_database.url()
    settings.HOST_LOOK_SECONDS = 0.3
    settings.HOST_SILENT_SECONDS = 1
    return reap_lost_hosts


def test_an_owner_that_was_taken_for_dead_makes_its_own_end_the_adjustment(host, upstream, reaper):
    """F26: the process stops, the reaper ends what it left open, and then it goes on."""
    log = UpstreamsLog(upstream)
    with host.process() as process:
        tenant = funded("stopped", process.url)
        with tenant.stream("sim-hold-0-8") as held:
            lines = held.iter_lines()
            request_id = held.headers["x-request-id"]
            next(lines)
            upstream.hold(1)
            os.kill(process.process.pid, signal.SIGSTOP)
            until(lambda: (reaper(), tenant.records())[1])
            (record,) = tenant.records()
            assert (record.state, record.usage_source) == ("settled", "estimated")
            assert "host_lost" in record.flags
            row = Process.objects.get(id=record.process_id)
            assert row.stopped_at
            os.kill(process.process.pid, signal.SIGCONT)
            upstream.release()
            assert any('"response.completed"' in line for line in lines)
        adjustment = until(lambda: Adjustment.objects.filter(record_id=request_id).first())
        usage = log.requests()[request_id]["usage"]
        assert adjustment.usage_source == "reported"
        assert record.input_tokens + adjustment.input_tokens == usage["input_tokens"]
        assert record.output_tokens + adjustment.output_tokens == usage["output_tokens"]
        assert_books_balance(tenant)
        # It counts as alive again, and what it admits from now on is its own.
        until(lambda: Process.objects.get(id=record.process_id).stopped_at is None)
        assert tenant.ask("sim-ok").status_code == 200


def test_the_price_that_was_held_applies_however_the_request_ends(host, upstream):
    """F24: a new price is entered while a stream is open, and its process dies."""
    pattern = f"sim-hold-*.paced-{uuid.uuid4().int % 1000 + 20}-1"
    open_model, quick_model = pattern.replace("*", "0-8"), pattern.replace("*", "1-8")
    add_model(pattern, Upstream.objects.get(name="simulator"))
    dearer = replace(PRICE, input=3 * PRICE.input)
    with host.process() as process:
        tenant = funded("edited", process.url)
        with tenant.stream(open_model) as held:
            lines = held.iter_lines()  # kept: a client whose iterator is gone has left
            next(lines)
            upstream.hold(1)
            Price.objects.create(model=pattern, effective_from=datetime.now(UTC), **token_price_columns(dearer))
            until(lambda: input_price(tenant.record(tenant.ask(quick_model).headers["x-request-id"])) == dearer.input)
            process.kill()
            until(lambda: process.process.exit_code() is not None)
    with host.process():
        records_of(tenant)
    record = tenant.record(held.headers["x-request-id"])
    assert record.flags == ["process_died"]
    assert input_price(record) == PRICE.input


def input_price(record):
    return {line["kind"]: line["price_pico_usd"] for line in record.lines}["input"]
