"""Quotas, credit and review in the admin."""

import uuid

import pytest
from django.contrib.admin.models import LogEntry
from django.urls import reverse

from accounts.models import User
from billing.books import ledger, quotas
from billing.models import LedgerEntry, Quota, QuotaWindow
from billing.prices.tokens import TokenUsage
from billing.record import REVIEW_FLAGS
from tests.accounts.rows import issued_key
from tests.billing.rows import held_record, settle, settled_record

ADD = "/admin/billing/quota/add/"
LIST = "/admin/billing/quota/"


@pytest.fixture
def admin_user(db):
    """Without a password, whose hashing would take longer than the tests."""
    return User.objects.create_superuser("admin")


@pytest.fixture
def key(db):
    return issued_key("acme")[0]


@pytest.fixture
def acme(key):
    return key.project.organization


def add(client, **fields):
    return client.post(ADD, {"metric": "cost", "period": "month", "limit": "0.50", "is_hard": "on"} | fields)


def change(client, quota, limit):
    return client.post(reverse("admin:billing_quota_change", args=[quota.pk]), {"limit": limit}, follow=True)


def give(client, organization, **fields):
    form = {"organization": organization.pk, "kind": "grant", "amount": "12.5", "reason": "Welcome"}
    return client.post("/admin/billing/ledgerentry/add/", form | {"gift_id": uuid.uuid4()} | fields)


def test_a_quota_is_made_on_each_level_with_its_window(admin_client, admin_user, key, acme):
    for name, scope in (("organization", acme), ("project", key.project), ("api_key", key)):
        assert add(admin_client, **{name: scope.pk}).status_code == 302
    assert set(Quota.objects.values_list("level", "scope_id", "limit_amount", "created_by")) == {
        ("organization", acme.pk, 500_000_000, admin_user.pk),
        ("project", key.project_id, 500_000_000, admin_user.pk),
        ("key", key.pk, 500_000_000, admin_user.pk),
    }
    assert set(Quota.objects.values_list("organization", flat=True)) == {acme.pk}
    assert QuotaWindow.objects.count() == 3
    assert LogEntry.objects.count() == 3


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"limit": "-1"}, "use a number from 0"),
        ({"limit": "0.0000000001"}, "at most 9 decimals"),
        ({"limit": "much"}, "use a number"),
        ({"metric": "tokens", "limit": "1.5"}, "use a whole number"),
        ({"limit": ""}, "required"),
        ({"metric": "euros"}, "valid choice"),
        ({"organization": ""}, "Choose one of"),
    ],
)
def test_a_quota_that_cannot_be_is_refused_with_the_reason(admin_client, acme, fields, sentence):
    response = add(admin_client, **({"organization": acme.pk} | fields))
    assert sentence in response.content.decode()
    assert not Quota.objects.exists()


def test_a_quota_is_on_one_thing_and_there_once(admin_client, key, acme):
    assert "Choose one of" in add(admin_client, organization=acme.pk, project=key.project_id).content.decode()
    add(admin_client, organization=acme.pk)
    assert "change its limit" in add(admin_client, organization=acme.pk).content.decode()
    assert Quota.objects.count() == 1


def test_a_limit_is_changed_through_the_window_and_nothing_else_is(admin_client, acme):
    quota = quotas.set_quota(acme, "cost", "month", 5_000_000_001)
    page = admin_client.get(reverse("admin:billing_quota_change", args=[quota.pk])).content.decode()
    assert 'value="5.000000001"' in page
    assert 'name="metric"' not in page
    change(admin_client, quota, "2")
    quota.refresh_from_db()
    assert quota.limit_amount == QuotaWindow.objects.get().limit_amount == 2_000_000_000
    assert "use a number" in change(admin_client, quota, "two").content.decode()


def test_credit_and_retired_quotas_cannot_be_changed_or_retired(admin_client, acme):
    credit = ledger.grant(acme, 100, "first")
    retired = quotas.set_quota(acme, "tokens", "day", 100)
    quotas.retire(retired)
    for quota in (credit, retired):
        assert change(admin_client, quota, "7").status_code == 403
        assert reverse("admin:billing_quota_change", args=[quota.pk]) in admin_client.get(LIST).content.decode()
        form = {"action": "retire_quotas", "_selected_action": [quota.pk]}
        assert "Nothing to retire" in admin_client.post(LIST, form, follow=True).content.decode()
    assert not quotas.change_limit(credit, 7)
    assert not quotas.change_limit(retired, 7)
    credit.refresh_from_db()
    assert (credit.limit_amount, credit.retired_at) == (100, None)


def test_quotas_are_retired_and_not_deleted(admin_client, acme):
    quota = quotas.set_quota(acme, "tokens", "day", 100)
    page = admin_client.post(LIST, {"action": "retire_quotas", "_selected_action": [quota.pk]}, follow=True)
    assert "Retired: tokens day on acme" in page.content.decode()
    quota.refresh_from_db()
    assert quota.retired_at is not None
    assert admin_client.post(reverse("admin:billing_quota_delete", args=[quota.pk])).status_code == 403


def test_the_list_shows_what_is_used_held_and_left(admin_client, acme):
    quota = quotas.set_quota(acme, "cost", "month", 10_000_000_000)
    QuotaWindow.objects.filter(quota=quota).update(posted=1_250_000_001, held=2_000_000_000)
    page = admin_client.get(LIST).content.decode()
    for figure in ("$10", "$1.250000001", "$2", "$6.749999999", f"{quota.window_ends_at:%Y-%m-%d}", "In force"):
        assert figure in page
    listed = admin_client.get(LIST, {"level": "key"}).context["cl"].result_list
    assert list(listed) == []


def test_credit_is_granted_and_refunded_with_a_reason(admin_client, admin_user, acme):
    assert give(admin_client, acme).status_code == 302
    assert give(admin_client, acme, kind="refund", amount="1", reason="Outage").status_code == 302
    assert quotas.credit_of(acme).limit_amount == 13_500_000_000
    sides = LedgerEntry.objects.values_list("kind", "account", "amount_nano_usd", "reason", "actor")
    assert set(sides) == {
        ("grant", "organization", 12_500_000_000, "Welcome", admin_user.pk),
        ("grant", "funds", -12_500_000_000, "Welcome", admin_user.pk),
        ("refund", "organization", 1_000_000_000, "Outage", admin_user.pk),
        ("refund", "revenue", -1_000_000_000, "Outage", admin_user.pk),
    }


def test_an_organization_is_made_postpaid_again(admin_client, acme):
    credit = ledger.grant(acme, 100, "first")
    other = quotas.set_quota(acme, "cost", "month", 7)
    chosen = {"action": "make_postpaid", "_selected_action": [str(credit.pk), str(other.pk)]}
    page = admin_client.post(LIST, chosen, follow=True).content.decode()
    assert "Postpaid again: acme" in page
    assert quotas.credit_of(acme) is None
    assert quotas.find(acme, "cost", "month") == other
    assert "Nothing to end" in admin_client.post(LIST, chosen, follow=True).content.decode()


def test_a_grant_sent_twice_is_booked_once(admin_client, acme):
    gift_id = uuid.uuid4()
    for _ in range(2):
        give(admin_client, acme, gift_id=gift_id)
    assert LedgerEntry.objects.count() == 2
    assert quotas.credit_of(acme).limit_amount == 12_500_000_000


@pytest.mark.parametrize(
    "fields", [{"amount": "0"}, {"amount": "-1"}, {"amount": "x"}, {"reason": " "}, {"kind": "charge"}]
)
def test_what_is_no_gift_is_refused(admin_client, acme, fields):
    assert give(admin_client, acme, **fields).status_code == 200
    assert not LedgerEntry.objects.exists()


def test_entries_and_windows_are_only_read(admin_client, acme):
    ledger.grant(acme, 100, "first")
    for model, row in (("ledgerentry", LedgerEntry.objects.first()), ("quotawindow", QuotaWindow.objects.first())):
        page = reverse(f"admin:billing_{model}_change", args=[row.pk])
        assert admin_client.get(page).status_code == 200
        assert admin_client.post(page, {"amount": "7", "reason": "x"}).status_code == 403


def test_the_list_of_records_tells_which_need_a_look(admin_client, key):
    settled_record(key)
    flagged = {}
    for flag in (*sorted(REVIEW_FLAGS), "client_gone"):
        record_id = held_record(key)
        settle(record_id, TokenUsage(input=10), flags=[flag])
        flagged[flag] = record_id
    listed = admin_client.get("/admin/billing/usagerecord/", {"review": "needed"}).context["cl"].result_list
    assert {record.pk for record in listed} == set(flagged.values()) - {flagged["client_gone"]}
    assert "process_died" in admin_client.get("/admin/billing/usagerecord/").content.decode()


def test_open_requests_are_listed(admin_client, key):
    held_record(key)
    page = admin_client.get("/admin/billing/hold/").content.decode()
    assert "open request" in page
    assert "$0.005" in page
