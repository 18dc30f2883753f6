"""The books: what is given is booked on both sides and raises the credit; nothing booked is ever changed."""

import threading
import uuid
from collections import Counter

import pytest
from django.core.exceptions import ValidationError
from django.db import DatabaseError, IntegrityError, connection, transaction

from accounts.models import Organization, Project
from billing.books import ledger, quotas
from billing.models import LedgerEntry, Quota, QuotaWindow
from tests.accounts.rows import issued_key, person
from tests.billing.rows import post, settled_record


@pytest.fixture
def key(db):
    return issued_key("acme")[0]


@pytest.fixture
def acme(key):
    return key.project.organization


def entries(organization):
    rows = LedgerEntry.objects.filter(organization=organization).order_by("id")
    return [(row.kind, row.account, row.amount_nano_usd) for row in rows]


def entry(organization, amount, account="organization", **fields):
    return LedgerEntry(
        **{"posting_id": uuid.uuid4(), "kind": "grant", "account": account, "organization": organization}
        | {"amount_nano_usd": amount, "reason": "test"} | fields
    )  # fmt: skip


def run(statement):
    with connection.cursor() as cursor:
        cursor.execute(statement)


def commit(*steps):
    """All of them in a transaction, and what the deferred constraints say at its end."""
    with transaction.atomic():
        run("SET CONSTRAINTS ALL DEFERRED")
        for step in steps:
            step()
        run("SET CONSTRAINTS ALL IMMEDIATE")


def test_the_first_grant_makes_an_organization_prepaid(acme):
    ann = person("ann")
    credit = ledger.grant(acme, 5_000_000_001, " Welcome ", ann)
    assert entries(acme) == [("grant", "organization", 5_000_000_001), ("grant", "funds", -5_000_000_001)]
    assert set(LedgerEntry.objects.values_list("reason", "actor")) == {("Welcome", ann.pk)}
    assert (credit.is_credit, credit.held_as, credit.period, credit.created_by) == (True, "hard cost", "forever", ann)
    window = QuotaWindow.objects.get(pk=credit.window_id)
    assert credit.limit_amount == window.limit_amount == window.ceiling == 5_000_000_001


def test_each_grant_and_refund_raises_the_credit_at_once(acme):
    ledger.grant(acme, 100, "first")
    ledger.grant(acme, 20, "second")
    credit = ledger.refund(acme, 3, "outage")
    assert entries(acme)[-2:] == [("refund", "organization", 3), ("refund", "revenue", -3)]
    assert credit.limit_amount == QuotaWindow.objects.get(pk=credit.window_id).limit_amount == 123
    assert Quota.objects.count() == 1
    (row,) = quotas.balances(acme)
    assert (row["credit"], row["limit"], row["left"], row["renews_at"]) == (True, 123, 123, None)


def test_a_refund_of_a_postpaid_organization_is_credit_from_its_first_grant_on(acme):
    assert ledger.refund(acme, 7, "outage") is None
    assert not Quota.objects.exists()
    assert ledger.grant(acme, 100, "prepaid from now on").limit_amount == 107


def test_an_organization_is_postpaid_again_and_what_is_left_waits_for_the_next_grant(acme):
    credit = ledger.grant(acme, 100, "first")
    QuotaWindow.objects.filter(quota=credit).update(posted=30, held=20)
    assert quotas.end_credit(acme)
    assert quotas.credit_of(acme) is None
    assert not quotas.end_credit(acme)
    assert ledger.refund(acme, 5, "outage") is None
    QuotaWindow.objects.filter(quota=credit).update(posted=45, held=0)  # what was open ended
    again = ledger.grant(acme, 10, "second")
    assert (again.pk, again.limit_amount, again.retired_at) == (credit.pk, 115, None)
    (balance,) = quotas.balances(acme)
    assert (balance["posted"], balance["left"]) == (45, 70)


def test_credit_stands_beside_a_quota_of_the_same_kind(acme):
    ledger.grant(acme, 100, "first")
    quota = quotas.set_quota(acme, "cost", "forever", 50)
    assert [row["credit"] for row in quotas.balances(acme)] == [True, False]
    assert quotas.retire(quota)
    assert not quotas.retire(quotas.credit_of(acme))
    assert quotas.find(acme, "cost", "forever") is None


def test_the_same_posting_again_does_nothing(acme):
    posting_id = uuid.uuid4()
    for _ in range(3):
        credit = ledger.grant(acme, 100, "sent again", posting_id=posting_id)
    assert credit.limit_amount == 100
    assert len(entries(acme)) == 2


@pytest.mark.parametrize(("amount", "reason"), [(0, "x"), (-5, "x"), (5, ""), (5, " \n"), (10**18 + 1, "x")])
def test_what_is_no_gift_is_refused_and_nothing_is_booked(acme, amount, reason):
    for give in (ledger.grant, ledger.refund):
        with pytest.raises(ValidationError):
            give(acme, amount, reason)
    assert not LedgerEntry.objects.exists()
    assert not Quota.objects.exists()


def test_credit_has_a_most(acme):
    ledger.grant(acme, 10**18, "all there is")
    with pytest.raises(ValidationError):
        ledger.grant(acme, 1, "and more")
    assert quotas.credit_of(acme).limit_amount == 10**18
    assert len(entries(acme)) == 2


def test_nothing_booked_is_changed_or_taken_away(acme):
    commit(lambda: ledger.grant(acme, 100, "first"))
    for statement in (
        "UPDATE billing_ledgerentry SET reason = 'other'",
        "UPDATE billing_ledgerentry SET amount_nano_usd = 0",
        "DELETE FROM billing_ledgerentry",
        "TRUNCATE billing_ledgerentry",
        "TRUNCATE accounts_organization CASCADE",
    ):
        with pytest.raises(DatabaseError, match="append-only"):
            commit(lambda statement=statement: run(statement))
    assert len(entries(acme)) == 2


def test_a_posting_sums_to_zero_or_is_not_committed(acme):
    posting_id = uuid.uuid4()
    one, less, other = (entry(acme, amount, posting_id=posting_id) for amount in (5, -6, -5))
    less.account = other.account = "funds"
    with pytest.raises(IntegrityError, match="off by 5 nano-USD"):
        commit(one.save)
    with pytest.raises(IntegrityError, match="off by -1 nano-USD"):
        commit(one.save, less.save)
    assert not LedgerEntry.objects.exists()
    commit(one.save, other.save)


def test_an_entry_cannot_be_added_to_a_posting_that_is_there(acme):
    ledger.grant(acme, 5, "first")
    posting_id = LedgerEntry.objects.first().posting_id
    with pytest.raises(IntegrityError, match="one_side"):
        commit(entry(acme, 0, posting_id=posting_id).save)
    with pytest.raises(IntegrityError, match="off by"):
        commit(entry(acme, 5, "revenue", posting_id=posting_id).save)


def test_charges_come_off_the_credit_and_the_organizations_account(key, acme):
    ledger.grant(acme, 100_000_000, "first")
    run("UPDATE billing_quota SET is_hard = false")  # as this record has no price
    settled_record(key)
    post()
    accounts = Counter()
    for _, account, amount in entries(acme):
        accounts[account] += amount
    (row,) = quotas.balances(acme)
    assert row["posted"] > 0
    assert accounts == {
        "organization": 100_000_000 - row["posted"], "funds": -100_000_000, "revenue": row["posted"],
    }  # fmt: skip
    assert row["left"] == accounts["organization"]


def test_grants_at_once_all_count(committed):
    organization = Organization.objects.create(name=f"granted-{uuid.uuid4().hex[:12]}")
    Project.objects.create(organization=organization, name="website")
    amounts = [10**number for number in range(6)]

    def give(amount):
        try:
            ledger.grant(organization, amount, "at once")
        finally:
            connection.close()

    threads = [threading.Thread(target=give, args=[amount]) for amount in amounts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    credit = quotas.credit_of(organization)
    assert credit.limit_amount == QuotaWindow.objects.get(pk=credit.window_id).limit_amount == 111_111
    assert len(entries(organization)) == 12
