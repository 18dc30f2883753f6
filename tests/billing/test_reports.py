import json
import threading
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.utils import timezone

from billing.books.reports import Group, receipt, recent_requests, today, usage
from billing.models import UsageRecord, UsageRollup
from billing.prices.tokens import TokenUsage
from tests.accounts.rows import issued_key, person
from tests.billing.rows import held_record, post, settle, settled_record, void

TEN = datetime(2026, 3, 14, 10, tzinfo=UTC)


@pytest.fixture
def key(db):
    return issued_key("acme")[0]


@pytest.fixture
def globex(db):
    return issued_key("globex")[0]


def test_usage_stays_the_same_while_records_are_posted_one_by_one(key):
    for model in ("gpt-5", "gpt-5", "o3-pro"):
        settled_record(key, TokenUsage(input=1001, cached=300, cache_write=50, output=77, reasoning=40), model=model)
    void(held_record(key))
    before = usage(by=list(Group))
    while post(most=1):
        assert usage(by=list(Group)) == before
    assert not UsageRecord.objects.unposted().exists()
    assert before["total"] == {
        "requests": 3, "voided": 1, "input_tokens": 3003, "cached_tokens": 900, "cache_write_tokens": 150,
        "output_tokens": 231, "reasoning_tokens": 120, "cost_nano_usd": 3 * 1_683_750,
        "charged_nano_usd": 3 * 1_683_750, "overage_nano_usd": 0,
    }  # fmt: skip


def test_no_record_is_counted_twice_or_not_at_all_by_a_posting_at_the_same_time(committed_key):
    records = 150
    for number in range(records):
        settled_record(committed_key, TokenUsage(input=1, output=number))
    posted, seen_once_more = threading.Event(), threading.Semaphore(0)

    def post_all():
        try:
            while post(most=10):
                seen_once_more.acquire(timeout=10)
        finally:
            posted.set()
            connection.close()

    thread = threading.Thread(target=post_all)
    seen = []
    thread.start()
    while not posted.is_set():
        seen.append(usage(key=committed_key)["total"]["requests"])
        seen_once_more.release()
    thread.join()
    assert UsageRollup.objects.get(api_key=committed_key).requests == records
    assert len(seen) > 5
    assert set(seen) == {records}


def test_since_counts_from_the_start_of_its_hour_posted_or_not(key):
    settled_record(key, at=TEN - timedelta(seconds=1))
    settled_record(key, at=TEN + timedelta(minutes=5))
    asked = {"since": TEN + timedelta(minutes=30), "key": key}
    before = usage(**asked)
    assert (before["since"], before["total"]["requests"]) == ("2026-03-14T10:00:00Z", 1)
    post()
    assert usage(**asked) == before


def test_a_pending_record_is_no_usage_and_a_void_one_is_counted_apart(key):
    held_record(key)
    void(held_record(key))
    total = usage()["total"]
    assert (total["requests"], total["voided"], total["cost_nano_usd"]) == (0, 1, 0)


def test_nothing_used_is_no_rows_and_zeros(db):
    found = usage()
    assert found["rows"] == []
    assert set(found["total"].values()) == {0}


@pytest.mark.parametrize("is_posted", [False, True])
def test_a_member_sees_their_organization_and_staff_see_all(key, globex, is_posted):
    settled_record(key)
    settled_record(globex)
    if is_posted:
        post()
    member, staff, stranger = person("ann", organization="acme"), person("sam", is_staff=True), person("eve")
    assert [row["organization"] for row in usage(user=member)["rows"]] == ["acme"]
    assert {row["organization"] for row in usage(user=staff)["rows"]} == {"acme", "globex"}
    assert usage(user=stranger)["rows"] == []
    assert usage(user=member, organization=globex.project.organization)["rows"] == []
    assert usage(user=member, key=globex)["total"]["requests"] == 0


@pytest.mark.parametrize("is_posted", [False, True])
def test_usage_of_one_organization_or_one_key(key, globex, is_posted):
    other, _ = issued_key("acme", name="phone")
    for used in (key, other, globex):
        settled_record(used)
    if is_posted:
        post()
    assert usage(organization=key.project.organization)["total"]["requests"] == 2
    assert [row["key"] for row in usage(key=other)["rows"]] == ["phone"]


def test_a_project_comes_with_its_organization_and_a_key_with_both(key):
    settled_record(key)
    project = {
        "organization_id": str(key.project.organization_id), "organization": "acme",
        "project_id": str(key.project_id), "project": "website",
    }  # fmt: skip
    assert _names(usage(by=[Group.PROJECT])["rows"][0]) == project
    assert _names(usage(by=[Group.KEY])["rows"][0]) == {
        **project, "key_id": str(key.id), "key": "laptop", "hint": key.hint
    }  # fmt: skip


def test_projects_of_the_same_name_stay_apart(key, globex):
    settled_record(key)
    settled_record(globex)
    assert len(usage(by=[Group.PROJECT])["rows"]) == 2


def test_the_dearest_row_comes_first(key):
    for model, tokens in (("cheap", 1), ("dear", 1000), ("middling", 10)):
        settled_record(key, TokenUsage(input=tokens), model=model)
    post(most=2)
    assert [row["model"] for row in usage(by=[Group.MODEL])["rows"]] == ["dear", "middling", "cheap"]


@pytest.mark.parametrize("is_posted", [False, True])
def test_hours_and_days_are_utc_and_in_their_order(key, is_posted):
    for at in (TEN + timedelta(hours=15), TEN, TEN + timedelta(minutes=59)):
        settled_record(key, at=at)
    if is_posted:
        post()
    by_hour, by_day = usage(by=[Group.HOUR])["rows"], usage(by=[Group.DAY])["rows"]
    assert [(row["hour"], row["requests"]) for row in by_hour] == [
        ("2026-03-14T10:00:00Z", 2), ("2026-03-15T01:00:00Z", 1)
    ]  # fmt: skip
    assert [(row["day"], row["requests"]) for row in by_day] == [
        ("2026-03-14T00:00:00Z", 2), ("2026-03-15T00:00:00Z", 1)
    ]  # fmt: skip


def test_recent_requests_are_the_newest_of_any_state(key):
    oldest, middle, newest = settled_record(key), held_record(key), held_record(key)
    void(newest)
    assert [record.id for record in recent_requests()] == sorted([oldest, middle, newest], reverse=True)
    assert len(recent_requests(limit=2)) == 2


def test_a_request_that_ends_while_recent_requests_are_read_is_there_once(key):
    record_id = held_record(key)

    def end_after_the_look_at_open_ones(execute, sql, parameters, many, context):
        result = execute(sql, parameters, many, context)
        if sql.startswith("SELECT") and '"billing_hold"' in sql:
            settle(record_id, TokenUsage(input=1))
        return result

    with connection.execute_wrapper(end_after_the_look_at_open_ones):
        assert [(request.id, request.state) for request in recent_requests()] == [(record_id, "settled")]


def test_recent_requests_are_read_with_all_they_name_at_once(key, django_assert_num_queries):
    settled_record(key)
    settled_record(key)
    with django_assert_num_queries(2):
        names = {(r.organization.name, r.project.name, r.api_key.hint) for r in recent_requests()}
    assert names == {("acme", "website", key.hint)}


def test_recent_requests_of_another_organization_are_not_seen(key, globex):
    settled_record(globex)
    own = settled_record(key)
    member = person("ann", organization="acme")
    assert [record.id for record in recent_requests(user=member)] == [own]
    assert not recent_requests(user=member, organization=globex.project.organization)
    assert len(recent_requests(user=person("sam", is_staff=True))) == 2


def test_a_receipt_says_what_became_of_a_request_and_how_its_cost_came_about(key):
    record_id = held_record(key)
    settle(
        record_id, TokenUsage(input=1000, cached=200, cache_write=1, output=50, reasoning=20),
        tool_calls={"web_search_call": 2}, flags=["above_context_window"],
    )  # fmt: skip
    found = receipt(record_id)
    created_at = datetime.fromisoformat(found.pop("created_at"))
    assert timezone.now() - created_at < timedelta(minutes=1)
    assert json.loads(json.dumps(found)) == {
        "id": str(record_id), "state": "settled", "usage_source": "reported",
        "organization": "acme", "organization_id": str(key.project.organization_id),
        "project": "website", "project_id": str(key.project_id), "key": "laptop", "key_id": str(key.id),
        "model": "gpt-5", "upstream": "openai", "response_id": "resp_1", "service_tier": "default",
        "status": 200, "stream": True,
        "usage": {
            "input_tokens": 1000, "cached_tokens": 200, "cache_write_tokens": 1, "output_tokens": 50,
            "reasoning_tokens": 20, "total_tokens": 1050,
        },
        "tool_calls": {"web_search_call": 2},
        "hold_nano_usd": 5_000_000, "cost_nano_usd": 1_525_000, "charged_nano_usd": 1_525_000, "overage_nano_usd": 0,
        "lines": [
            {"kind": "input", "quantity": 799, "price_pico_usd": 1_250_000, "amount_pico_usd": 998_750_000},
            {"kind": "cached_input", "quantity": 200, "price_pico_usd": 125_000, "amount_pico_usd": 25_000_000},
            {"kind": "cache_write", "quantity": 1, "price_pico_usd": 1_250_001, "amount_pico_usd": 1_250_001},
            {"kind": "output", "quantity": 50, "price_pico_usd": 10_000_000, "amount_pico_usd": 500_000_000},
        ],
        "first_byte_ms": 120, "latency_ms": 900, "flags": ["above_context_window"], "adjustment": None,
    }  # fmt: skip


def test_times_on_a_receipt_are_utc_with_z(key):
    assert receipt(held_record(key, at=TEN))["created_at"] == "2026-03-14T10:00:00Z"


def test_an_unknown_id_has_no_receipt(db):
    with pytest.raises(UsageRecord.DoesNotExist):
        receipt(uuid.uuid4())


def test_today_begins_at_midnight_of_the_time_zone():
    begun = today("Asia/Kolkata")
    assert (begun.hour, begun.minute, begun.utcoffset()) == (0, 0, timedelta(hours=5, minutes=30))
    assert timedelta(0) <= timezone.now() - begun < timedelta(days=1)


def _names(row):
    return {name: value for name, value in row.items() if not isinstance(value, int)}
