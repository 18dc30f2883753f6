"""Quotas as people set them: kept exactly, one of a kind, counted from when they were made."""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import psycopg
import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from accounts.models import APIKey, Organization, Project
from billing.books import quotas
from billing.models import Quota, QuotaWindow
from tests import plane_database
from tests.accounts.rows import issued_key, person
from tests.billing.books import batch_of, hold_of, settled
from tests.tenants import until

DAY = timedelta(days=1)


@pytest.fixture
def key(db):
    return issued_key("acme")[0]


@pytest.fixture
def acme(key):
    return key.project.organization


def windows(quota):
    return list(QuotaWindow.objects.filter(quota=quota).order_by("id"))


def open_windows(scope, moment=None):
    """What the lane does when it finds a window that is over."""
    with connection.cursor() as cursor:
        if moment:
            cursor.execute("SELECT billing_open_windows(ARRAY[%s], %s)", [scope.pk, moment])
        else:
            cursor.execute("SELECT billing_open_windows(ARRAY[%s])", [scope.pk])


def use(quota, **amounts):
    quota.refresh_from_db()
    QuotaWindow.objects.filter(pk=quota.window_id).update(**amounts)


def age(quota, days):
    """As if its window had been opened so many days ago."""
    quota.refresh_from_db()
    window = QuotaWindow.objects.get(pk=quota.window_id)
    ends_at = window.ends_at - timedelta(days=days)
    QuotaWindow.objects.filter(pk=window.pk).update(starts_at=window.starts_at - timedelta(days=days), ends_at=ends_at)
    Quota.objects.filter(pk=quota.pk).update(window_ends_at=ends_at)


def balance(organization, **only):
    """The one that is like that."""
    (row,) = [row for row in quotas.balances(organization) if all(row[name] == value for name, value in only.items())]
    return row


def test_a_quota_is_made_with_its_first_window(key, acme):
    ann = person("ann")
    quota = quotas.set_quota(acme, "cost", "day", 5_000_000_001, actor=ann)
    (window,) = windows(quota)
    assert (quota.level, quota.scope_id, quota.held_as, quota.created_by) == ("organization", acme.pk, "hard cost", ann)
    assert (quota.window_id, quota.window_ends_at) == (window.pk, window.ends_at)
    assert (window.limit_amount, window.ceiling, window.posted, window.held) == (5_000_000_001, 5_000_000_001, 0, 0)
    assert window.starts_at <= datetime.now(UTC) < window.ends_at == window.starts_at + DAY


def test_each_level_has_quotas_of_its_own(key, acme):
    for scope in (acme, key.project, key):
        quotas.set_quota(scope, "tokens", "month", 1000)
    assert [(row["level"], row["name"]) for row in quotas.balances(acme)] == [
        ("organization", "acme"), ("project", "acme/website"), ("key", f"laptop {key.hint}"),
    ]  # fmt: skip
    assert Quota.objects.filter(organization=acme).count() == 3


def test_a_new_limit_counts_at_once_and_keeps_what_was_used(acme):
    quota = quotas.set_quota(acme, "tokens", "day", 100)
    use(quota, posted=30, held=20)
    assert quotas.set_quota(acme, "tokens", "day", 200) == quota
    assert balance(acme)["left"] == 150
    assert [window.limit_amount for window in windows(quota)] == [200]


def test_a_limit_below_what_is_used_leaves_nothing_and_stays_legal(acme):
    quota = quotas.set_quota(acme, "tokens", "day", 100)
    use(quota, posted=30, held=50)
    quotas.set_quota(acme, "tokens", "day", 10)
    (window,) = windows(quota)
    assert (window.limit_amount, window.ceiling) == (10, 80)
    assert (balance(acme)["limit"], balance(acme)["left"]) == (10, 0)
    use(quota, posted=80, held=0)  # the open request ends as it may
    quotas.set_quota(acme, "tokens", "day", 500)
    assert windows(quota)[0].ceiling == 500


def test_from_hard_to_soft_a_new_one_counts_from_now(acme):
    hard = quotas.set_quota(acme, "cost", "month", 100)
    use(hard, posted=30)
    soft = quotas.set_quota(acme, "cost", "month", 100, is_hard=False)
    hard.refresh_from_db()
    assert hard.retired_at is not None
    assert soft.pk != hard.pk
    assert windows(soft)[0].ceiling is None
    row = balance(acme)
    assert (row["hard"], row["posted"], row["left"]) == (False, 0, 100)


def test_what_a_soft_quota_exceeds_is_shown_and_nothing_is_left(acme):
    quota = quotas.set_quota(acme, "requests", "day", 10, is_hard=False)
    use(quota, posted=25)
    row = balance(acme)
    assert (row["limit"], row["posted"], row["left"]) == (10, 25, 0)


def test_a_retired_quota_is_gone_once(acme):
    quota = quotas.set_quota(acme, "cost", "month", 100)
    assert quotas.retire(quota)
    assert not quotas.retire(quota)
    assert quotas.balances(acme) == []
    assert quotas.find(acme, "cost", "month") is None
    assert quotas.set_quota(acme, "cost", "month", 100) != quota


@pytest.mark.parametrize("limit", [-1, 10**18 + 1])
def test_a_limit_out_of_range_is_refused(acme, limit):
    with pytest.raises(ValidationError):
        quotas.set_quota(acme, "cost", "day", limit)
    assert not Quota.objects.exists()


def test_a_metric_or_period_that_there_is_not_is_refused(acme):
    for metric, period in (("euros", "day"), ("cost", "week")):
        with pytest.raises(ValidationError):
            quotas.set_quota(acme, metric, period, 1)


def test_nobody_sees_what_another_organization_has(acme):
    globex = issued_key("globex")[0].project.organization
    quotas.set_quota(acme, "cost", "day", 5)
    assert quotas.balances(globex) == []


def test_a_quota_whose_window_is_over_shows_the_one_that_would_open(acme):
    quota = quotas.set_quota(acme, "tokens", "day", 100)
    use(quota, posted=90, held=5)
    renews_at = balance(acme)["renews_at"]
    age(quota, days=3)
    row = balance(acme)
    assert (row["posted"], row["held"], row["left"]) == (0, 0, 100)
    assert row["renews_at"] == renews_at  # today's end
    assert len(windows(quota)) == 1  # who looks opens nothing


def test_a_limit_set_after_the_window_is_that_of_the_next(acme):
    quota = quotas.set_quota(acme, "tokens", "day", 100)
    age(quota, days=1)
    quotas.set_quota(acme, "tokens", "day", 50)
    open_windows(acme)
    assert [(window.limit_amount, window.ceiling) for window in windows(quota)] == [(100, 100), (50, 50)]


def test_for_ever_never_renews(acme):
    quota = quotas.set_quota(acme, "requests", "forever", 3)
    assert balance(acme)["renews_at"] is None
    open_windows(acme, datetime(2400, 1, 1, tzinfo=UTC))
    (window,) = windows(quota)
    assert window.ends_at.year == 9999


# Windows are calendar days and months of the organization's time zone


PLAIN = ("America/New_York", "Asia/Kolkata", "Pacific/Chatham", "UTC", "Europe/Berlin", "Pacific/Kiritimati")
AT_MIDNIGHT = ("America/Havana", "Africa/Cairo", "America/Santiago", "Asia/Beirut", "Atlantic/Azores")
MOMENTS = st.builds(
    lambda minutes: datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes), st.integers(0, 3 * 365 * 24 * 60)
)
# An hour around the changes of New York, Chatham, Havana and Cairo, in both directions
CHANGES = [
    datetime(*parts, tzinfo=UTC)
    for parts in (
        (2026, 3, 8, 7), (2026, 11, 1, 6), (2026, 4, 4, 14), (2026, 9, 26, 14), (2026, 3, 8, 5), (2026, 11, 1, 5),
        (2026, 4, 23, 22), (2026, 10, 29, 21), (2026, 4, 5, 3), (2026, 9, 6, 4), (2026, 10, 25, 1), (2026, 3, 29, 1),
    )
]  # fmt: skip
NEAR_CHANGES = st.builds(
    lambda change, minutes: change + timedelta(minutes=minutes), st.sampled_from(CHANGES), st.integers(-1600, 1600)
)


def window_at(period, zone, moment):
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM billing_window_at(%s, %s, %s)", [period, zone, moment])
        return cursor.fetchone()


def local(year, month, day, zone):
    return datetime(year, month, day, tzinfo=ZoneInfo(zone)).astimezone(UTC)


@pytest.mark.django_db
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moment=MOMENTS | NEAR_CHANGES, zone=st.sampled_from(PLAIN), period=st.sampled_from(["day", "month"]))
def test_a_window_is_the_calendar_day_or_month_where_people_are(moment, zone, period):
    here = moment.astimezone(ZoneInfo(zone))
    first = here.date() if period == "day" else here.date().replace(day=1)
    next = first + DAY if period == "day" else (first + timedelta(days=32)).replace(day=1)
    expected = tuple(local(day.year, day.month, day.day, zone) for day in (first, next))
    assert window_at(period, zone, moment) == expected


@pytest.mark.django_db
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    moment=NEAR_CHANGES | MOMENTS, zone=st.sampled_from(PLAIN + AT_MIDNIGHT), period=st.sampled_from(["day", "month"])
)
@example(moment=datetime(2026, 11, 1, 4, 30, tzinfo=UTC), zone="America/Havana", period="day")
def test_windows_follow_each_other_without_gap_or_overlap_though_midnight_be_missing_or_come_twice(
    moment, zone, period
):
    starts_at, ends_at = window_at(period, zone, moment)
    assert starts_at <= moment < ends_at
    assert ends_at - starts_at <= (DAY if period == "day" else 31 * DAY) + timedelta(hours=1)
    assert window_at(period, zone, starts_at) == (starts_at, ends_at)
    assert window_at(period, zone, ends_at - timedelta(microseconds=1)) == (starts_at, ends_at)
    assert window_at(period, zone, ends_at)[0] == ends_at


@pytest.mark.django_db
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 80 * 60), st.sampled_from([*PLAIN, *AT_MIDNIGHT, None])), min_size=1, max_size=12
    ),
    period=st.sampled_from(["day", "month"]),
)
def test_an_organization_that_moves_has_windows_that_do_not_overlap(steps, period):
    organization = Organization.objects.create(name=uuid.uuid4().hex)
    quota = quotas.set_quota(organization, "tokens", period, 100)
    moment = datetime.now(UTC)
    for minutes, zone in steps:
        moment += timedelta(minutes=minutes)
        if zone:
            Organization.objects.filter(pk=organization.pk).update(time_zone=zone)
        open_windows(organization, moment)
        quota.refresh_from_db()
        current = QuotaWindow.objects.get(pk=quota.window_id)
        assert current.starts_at <= moment < current.ends_at == quota.window_ends_at
    opened = windows(quota)
    assert all(before.ends_at <= after.starts_at for before, after in pairwise(opened))


# At once: rows that are committed, over connections of their own


@pytest.fixture
def committed_key(committed):
    organization = Organization.objects.create(name=f"quotas-{uuid.uuid4().hex[:12]}")
    project = Project.objects.create(organization=organization, name="website")
    return APIKey.objects.issue(project=project, name="bot")[0]


def at_once(*calls):
    """What each returns; Django gives each thread a connection of its own."""
    answers, start = [None] * len(calls), threading.Barrier(len(calls))

    def run(number):
        start.wait(10)
        try:
            answers[number] = calls[number]()
        except Exception as error:
            answers[number] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[number]) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return answers


def lane():
    return psycopg.connect(plane_database.url(), autocommit=True)


@pytest.mark.parametrize("round", range(5))
def test_two_who_set_the_same_quota_at_once_set_one(committed_key, round):
    organization = committed_key.project.organization
    made = at_once(*(lambda limit=limit: quotas.set_quota(organization, "cost", "day", limit) for limit in range(8)))
    assert len({quota.pk for quota in made}) == 1
    (quota,) = Quota.objects.filter(organization=organization)
    (window,) = windows(quota)
    assert quota.limit_amount == window.limit_amount == window.ceiling


@pytest.mark.parametrize("round", range(3))
def test_hard_and_soft_at_once_leave_one_in_force(committed_key, round):
    organization = committed_key.project.organization
    made = at_once(
        *(
            lambda number=number: quotas.set_quota(organization, "cost", "day", 100, is_hard=number % 2 == 0)
            for number in range(8)
        )
    )
    assert all(isinstance(quota, Quota) for quota in made)
    assert Quota.objects.in_force().filter(organization=organization).count() == 1


def test_who_replaces_a_quota_locks_those_beside_it_in_the_order_of_the_lane(committed_key):
    """Just after midnight: both windows are over, and making the new quota opens them."""
    made = [quotas.set_quota(committed_key, metric, "day", 100) for metric in ("tokens", "cost")]
    first, second = sorted(made, key=lambda quota: quota.pk)
    age(first, days=2)
    age(second, days=2)
    lock = "SELECT id FROM billing_quota WHERE id = %s FOR NO KEY UPDATE"
    waiting = "SELECT 1 FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))"
    with lane() as other, lane() as third, ThreadPoolExecutor() as pool, other.transaction():
        other.execute(lock, [first.pk])
        setting = pool.submit(
            at_once, lambda: quotas.set_quota(committed_key, second.metric, "day", 100, is_hard=False)
        )
        until(lambda: setting.done() or third.execute(waiting, [other.info.backend_pid]).fetchone())
        other.execute(lock + " NOWAIT", [second.pk])
    assert isinstance(setting.result()[0], Quota)


def test_two_who_find_a_window_over_open_one(committed_key):
    quota = quotas.set_quota(committed_key, "tokens", "day", 100)
    age(quota, days=2)
    at_once(*([lambda: open_windows(committed_key)] * 6))
    assert len(windows(quota)) == 2


def test_limits_change_under_load_and_nothing_exceeds_the_ceiling(committed_key):
    """The lane holds and ends while people raise and lower; the CHECK would abort a call that went over."""
    key = committed_key
    owner = {"organization_id": key.project.organization_id, "project_id": key.project_id, "api_key_id": key.id}
    scopes = (key.project.organization, key.project, key)
    for scope in scopes:
        quotas.set_quota(scope, "tokens", "day", 2_000)
    ended = []

    def use_it():
        with lane() as connection:
            for _ in range(60):
                hold = hold_of(**owner, hold_tokens=100)
                try:
                    connection.execute(*batch_of([hold], []))
                except psycopg.errors.RaiseException:
                    continue  # it does not fit
                except psycopg.errors.DatabaseError as error:
                    if error.sqlstate != "TG001":
                        raise
                    continue
                connection.execute(*batch_of([], [settled(hold, input_tokens=60, output_tokens=10)]))
                ended.append(hold.id)

    def change_it(scope):
        for number in range(40):
            quotas.set_quota(scope, "tokens", "day", (500, 10_000, 1_000)[number % 3])

    answers = at_once(use_it, use_it, *(lambda scope=scope: change_it(scope) for scope in scopes))
    assert answers == [None] * 5
    assert ended
    for quota in Quota.objects.filter(organization=scopes[0]):
        (window,) = windows(quota)
        assert (window.posted, window.held) == (70 * len(ended), 0)
        assert window.ceiling >= window.posted
