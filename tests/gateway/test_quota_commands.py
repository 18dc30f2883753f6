"""The commands for quotas and credit, by their answers."""

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from billing.books import ledger
from billing.models import LedgerEntry, Quota, QuotaWindow
from tests.accounts.rows import issued_key
from tests.billing.rows import post, settled_record

pytestmark = pytest.mark.django_db


def said(*arguments):
    output = StringIO()
    call_command(*arguments, stdout=output)
    return output.getvalue()


def answered(*arguments):
    """The one JSON object of a command, and nothing else."""
    return json.loads(said(*arguments, "--json"))


def refused(*arguments):
    """The sentence a command ends with; nothing went to stdout."""
    output = StringIO()
    with pytest.raises(CommandError) as error:
        call_command(*arguments, stdout=output)
    assert output.getvalue() == ""
    return str(error.value)


def quota(*scope, metric="cost", window="month", limit="25"):
    return ("set_quota", *(scope or ("--organization", "acme")), "--metric", metric, "--window", window) + (
        ("--limit", limit) if limit is not None else ()
    )


@pytest.fixture
def key():
    return issued_key("acme")[0]


@pytest.fixture
def acme(key):
    return key.project.organization


def test_a_quota_is_set_in_usd_to_the_nano(acme):
    answer = answered(*quota(limit="25.000000001"))
    assert answer == {
        "id": str(Quota.objects.get().pk), "level": "organization", "name": "acme", "metric": "cost",
        "window": "month", "limit": 25_000_000_001, "hard": True, "retired_at": None,
    }  # fmt: skip
    assert QuotaWindow.objects.get().limit_amount == 25_000_000_001


def test_projects_and_keys_are_named_as_people_know_them(key):
    for scope in (("--project", "acme/website"), ("--key", "laptop"), ("--key", key.hint), ("--key", str(key.id))):
        answered(*quota(*scope, metric="tokens", limit="1000"))
    assert set(Quota.objects.values_list("scope_id", flat=True)) == {key.project_id, key.id}
    assert Quota.objects.count() == 2


def test_names_may_have_slashes():
    issued_key("a/b", "c/d")
    assert answered(*quota("--project", "a/b/c/d"))["name"] == "a/b/c/d"


def test_people_read_what_is_refused_and_what_only_counted(acme):
    assert "acme may use $25 a month; what would exceed it is refused." in said(*quota())
    assert "counted and not refused" in said(*quota(), "--soft")
    assert "acme should use 1,000 tokens a day" in said(*quota(metric="tokens", window="day", limit="1000"), "--soft")
    assert Quota.objects.in_force().count() == 2


def test_a_quota_is_removed_once(acme):
    said(*quota())
    remove = (*quota(limit=None), "--remove")
    assert "no quota of $25 a month any more" in said(*remove)
    assert "manage.py balance" in refused(*remove)
    assert not Quota.objects.in_force().exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (quota("--organization", "globex"), "'globex'"),
        (quota("--project", "website"), "ORGANIZATION/NAME"),
        (quota("--project", "acme/none"), "ORGANIZATION/NAME"),
        (quota("--key", "nobody's"), "nobody's"),
        (quota("--key", "01a203fa-0000-7000-8000-000000000000"), "admin lists keys"),
        (quota(limit="0.0000000001"), "at most 9 decimals"),
        (quota(limit="-1"), "from 0"),
        (quota(limit="NaN"), "a number"),
        (quota(limit="1e30"), "from 0 to 1,000,000,000"),
        (quota(limit="lots"), "a number"),
        (quota(metric="tokens", limit="1.5"), "whole number"),
        (quota(metric="requests", limit="-3"), "whole number"),
        (quota(metric="euros"), "invalid choice"),
        (quota(window="week"), "invalid choice"),
        (quota(limit=None), "--limit"),
        (("set_quota", "--metric", "cost", "--window", "day", "--limit", "1"), "--organization"),
        ((*quota(), "--key", "laptop"), "not allowed with"),
    ],
)
def test_what_cannot_be_set_is_refused_in_a_sentence(acme, arguments, sentence):
    assert sentence in refused(*arguments)
    assert not Quota.objects.exists()


def test_a_key_that_shares_its_name_is_named_by_its_id(key):
    other, secret = issued_key("globex")
    assert "use the id" in refused(*quota("--key", "laptop"))
    other.revoke()
    assert answered(*quota("--key", "laptop"))["level"] == "key"
    assert Quota.objects.get().api_key == key
    assert secret[12:] not in refused(*quota("--key", secret))


def test_the_balance_shows_all_levels_and_the_credit(key, acme):
    said("grant_credit", "--organization", "acme", "--amount", "100", "--reason", "Welcome")
    said(*quota("--project", "acme/website", window="day", limit="5"))
    said(*quota("--key", "laptop", metric="requests", window="forever", limit="10"), "--soft")
    issued_key("globex")
    said(*quota("--organization", "globex"))
    QuotaWindow.objects.filter(quota__project=key.project, quota__api_key=None).update(posted=7, held=5)
    answer = answered("balance", "--organization", "acme")
    day = Quota.objects.get(period="day").window_ends_at
    usd = 10**9
    assert answer == {
        "organization": "acme", "prepaid": True,
        "quotas": [
            {
                "level": "organization", "name": "acme", "metric": "cost", "window": "forever", "hard": True,
                "credit": True, "limit": 100 * usd, "posted": 0, "held": 0, "left": 100 * usd, "renews_at": None,
            },
            {
                "level": "project", "name": "acme/website", "metric": "cost", "window": "day", "hard": True,
                "credit": False, "limit": 5 * usd, "posted": 7, "held": 5, "left": 5 * usd - 12,
                "renews_at": f"{day:%Y-%m-%dT%H:%M:%SZ}",
            },
            {
                "level": "key", "name": f"laptop {key.hint}", "metric": "requests", "window": "forever", "hard": False,
                "credit": False, "limit": 10, "posted": 0, "held": 0, "left": 10, "renews_at": None,
            },
        ],
    }  # fmt: skip


def test_people_read_the_balance_in_dollars(acme):
    assert (
        said("balance", "--organization", "acme")
        == "acme is postpaid and has no quotas: manage.py set_quota sets one.\n"
    )
    said(*quota(limit="1250.5"))
    text = said("balance", "--organization", "acme")
    first, _, head, row = text.rstrip().splitlines()
    assert first == "acme is postpaid."
    assert head.split()[:9] == ["level", "name", "metric", "window", "kind", "limit", "used", "held", "left"]
    assert row.split()[:9] == ["organization", "acme", "cost", "month", "hard", "$1250.5", "$0", "$0", "$1250.5"]
    assert f"{Quota.objects.get().window_ends_at:%Y-%m-%d %H:%M}" in row
    assert "'globex'" in refused("balance", "--organization", "globex")


def gift(name, amount="10", reason="Because", organization="acme"):
    return (name, "--organization", organization, "--amount", amount, "--reason", reason)


def test_credit_is_granted_and_refunded(acme):
    assert answered(*gift("grant_credit", "10.000000001")) == {
        "organization": "acme", "amount": 10_000_000_001, "prepaid": True, "limit": 10_000_000_001,
    }  # fmt: skip
    assert "in all its credit was $12.500000001" in said(*gift("refund", "2.5"))
    assert set(LedgerEntry.objects.values_list("kind", "reason", "actor")) == {
        ("grant", "Because", None), ("refund", "Because", None),
    }  # fmt: skip


def test_a_refund_makes_nobody_prepaid(acme):
    assert "postpaid" in said(*gift("refund"))
    assert answered("balance", "--organization", "acme")["prepaid"] is False


def test_an_organization_is_made_postpaid_again(acme):
    said(*gift("grant_credit", "10"))
    assert answered("end_credit", "--organization", "acme") == {
        "organization": "acme", "prepaid": False, "left": 10_000_000_000,
    }  # fmt: skip
    assert answered("balance", "--organization", "acme")["prepaid"] is False
    assert "is postpaid" in refused("end_credit", "--organization", "acme")
    said(*gift("grant_credit", "1"))
    assert answered("balance", "--organization", "acme")["quotas"][0]["left"] == 11_000_000_000
    assert "$11 of its credit stay in the ledger" in said("end_credit", "--organization", "acme")


@pytest.mark.parametrize("name", ["grant_credit", "refund"])
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"amount": "0"}, "more than nothing"),
        ({"amount": "-5"}, "from 0"),
        ({"amount": "ten"}, "a number"),
        ({"amount": "0.0000000001"}, "at most 9 decimals"),
        ({"reason": " "}, "needs a reason"),
        ({"organization": "globex"}, "'globex'"),
    ],
)
def test_what_is_no_gift_is_refused_in_a_sentence(acme, name, change, sentence):
    assert sentence in refused(*gift(name, **change))
    assert not LedgerEntry.objects.exists()


def test_rollups_are_rebuilt_and_it_is_told_what_was_wrong(key):
    settled_record(key)
    post()
    answer = answered("rebuild_rollups", "--since", "2026-01-01")
    assert (answer["buckets"], answer["corrected"], answer["removed"]) == (1, 0, 0)
    assert answer["since"] == "2026-01-01T00:00:00Z"
    ledger.post_settled()
    assert "1 buckets in" in said("rebuild_rollups")
    assert "no ISO date" in refused("rebuild_rollups", "--since", "yesterday")
