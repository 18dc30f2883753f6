"""The reconciler: silent over books that balance, and names each of the faults that are planted in them."""

import json
import random
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from accounts.models import APIKey
from billing.books.reconcile import reconcile
from billing.tasks import reconcile_recent
from tests import plane_database
from tests.billing import balanced
from tests.billing.planted import FAULTS, FREED

NAME = f"{plane_database.NAME}_books"


@pytest.fixture(scope="module")
def books(django_test_environment, django_db_blocker):
    """The name of a database with balanced books, to be copied."""
    with django_db_blocker.unblock(), balanced.database(NAME):
        call_command("migrate", verbosity=0)
        balanced.make_books()
        connection.close()
        yield NAME


@pytest.fixture
def copy(books, django_db_blocker):
    """A connection to a copy of the books; Django's is to the same."""
    with django_db_blocker.unblock(), balanced.database(f"{books}_copy", books), balanced.connect() as copy:
        yield copy


def breaches(checks):
    return {check.name: [str(breach) for breach in check.breaches] for check in checks if not check.ok}


def named(checks, name):
    return {breach.id for check in checks for breach in check.breaches if check.name == name}


def test_books_that_balance_have_no_breach_and_every_check_had_something_to_look_at(copy):
    checks = reconcile()
    assert breaches(checks) == {}
    assert min((check.checked, check.name) for check in checks) >= (10, "")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_ten_planted_faults_of_a_kind_are_found_and_named(fault, copy):
    copy.execute(FREED)
    planted = {row[0] for row in copy.execute(fault.plant)}
    assert len(planted) == 10
    found = named(reconcile(), fault.check)
    assert planted <= found if fault.spoils_more else planted == found
    if fault.is_recent:
        assert named(reconcile(since=timezone.now() - timedelta(hours=1)), fault.check) == found


def test_a_look_at_what_changed_leaves_out_what_did_not(copy):
    looked_at = {check.name: check.checked for check in reconcile()}
    recently = {check.name: check.checked for check in reconcile(since=timezone.now() + timedelta(minutes=1))}
    records = balanced.ORGANIZATIONS * balanced.REQUESTS * 2
    open_ones = looked_at["requests_are_open_or_ended"]
    assert looked_at["records_are_charged_what_they_cost"] == records - open_ones
    assert recently["records_are_charged_what_they_cost"] == recently["rollups_are_what_is_posted"] == 0
    assert recently["requests_have_known_owners"] == recently["requests_are_open_or_ended"] == open_ones
    assert 10 < recently["windows_are_within_their_ceilings"] < looked_at["windows_are_within_their_ceilings"]


def test_books_in_use_are_seen_in_one_snapshot(copy):
    """No breach shows between the writes of others, and the checks count the same requests."""
    chance, done = random.Random(2), threading.Event()
    keys = list(APIKey.objects.select_related("project").order_by("id")[:8])

    def use():
        with balanced.connect() as books:
            for _ in range(40):
                balanced.requests(books, chance, keys)
                books.execute("SELECT billing_post_settled(10)")
                if done.is_set():
                    break

    with ThreadPoolExecutor(1) as pool:
        using = pool.submit(use)
        try:
            before = reconcile()
            after = [reconcile() for _ in range(8)]
        finally:
            done.set()
        using.result()
    assert [breaches(checks) for checks in after] == [{}] * 8
    counts = [{check.name: check.checked for check in checks} for checks in [before, *after]]
    for count in counts:
        ended, still_open = count["records_are_charged_what_they_cost"], count["requests_are_open_or_ended"]
        assert count["requests_have_known_owners"] == ended + still_open
    assert counts[-1]["requests_have_known_owners"] > counts[0]["requests_have_known_owners"]


def test_the_command_prints_each_check_and_exits_well_where_all_is(copy):
    answer = json.loads(said("--json"))
    assert answer["ok"] is True
    assert {tuple(check) for check in answer["checks"]} == {("name", "invariant", "checked", "found", "breaches")}
    assert {check["invariant"] for check in answer["checks"]} == {f"I{number}" for number in range(1, 8)}
    assert "windows_hold_what_is_open" in said()


def test_the_command_names_the_breaches_and_fails(copy):
    (window,) = copy.execute("UPDATE billing_quotawindow SET held = 7 WHERE held = 0 RETURNING id").fetchmany(1)[0]
    copy.execute("UPDATE billing_quotawindow SET held = 0 WHERE held = 7 AND id <> %s", [window])
    output = StringIO()
    with pytest.raises(CommandError, match="do not balance, breaches: 1"):
        call_command("reconcile", "--json", stdout=output)
    answer = json.loads(output.getvalue())
    breach = {"id": str(window), "what": "held 7, its open requests hold 0"}
    assert answer["ok"] is False
    assert [check["breaches"] for check in answer["checks"] if check["found"]] == [[breach]]
    with pytest.raises(CommandError):
        call_command("reconcile", stdout=output)
    assert f"  {window}: held 7, its open requests hold 0" in output.getvalue()


def test_the_task_raises_an_alarm_for_each_breach(copy, caplog):
    reconcile_recent()
    assert caplog.records == []
    copy.execute("UPDATE billing_hold SET price_id = NULL WHERE is_bound")
    reconcile_recent()
    alarms = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(alarms) == 21
    assert all("charged_requests_have_a_price (I6): " in alarm for alarm in alarms)


def said(*arguments):
    output = StringIO()
    call_command("reconcile", *arguments, stdout=output)
    return output.getvalue()


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_million_records_are_looked_at_within_a_minute(copy, capsys):
    balanced.multiply(copy, 1_000_000)
    while copy.execute("SELECT billing_post_settled(20000)").fetchone()[0]:
        pass
    copy.execute("ANALYZE")
    began = time.monotonic()
    checks = reconcile()
    took = time.monotonic() - began
    with capsys.disabled():
        sys.stdout.write(f"\n{sum(check.checked for check in checks):,} things looked at in {took:.1f} s\n")
    assert breaches(checks) == {}
    assert next(check.checked for check in checks if check.name == "records_are_charged_what_they_cost") >= 1_000_000
    assert took <= 60
