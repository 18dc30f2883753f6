import uuid
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network

import pytest

from accounts.authentication import KeyFacts, KeyRefused, Refusal, Scope, bearer, check, masked

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def facts(**fields):
    return KeyFacts(uuid.uuid4(), "name", "hint", uuid.uuid4(), "project", uuid.uuid4(), "organization", **fields)


def refusal(address="192.0.2.7", scope=Scope.RESPONSES, **fields):
    return check(facts(**fields), address=address, scope=scope, now=NOW)


def test_a_key_without_limits_may_do_all():
    assert refusal() is None
    assert refusal(address="", scope=Scope.MODELS) is None


@pytest.mark.parametrize(
    ("fact", "reason"),
    [("revoked_at", Refusal.REVOKED), ("expires_at", Refusal.EXPIRED), ("suspended_at", Refusal.SUSPENDED)],
)
def test_a_date_counts_from_its_moment_on(fact, reason):
    assert refusal(**{fact: NOW}) is reason
    assert refusal(**{fact: NOW - SECOND}) is reason
    assert refusal(**{fact: NOW + SECOND}) is None


NETWORKS = (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"))


@pytest.mark.parametrize(
    "address", ["192.0.2.7", "192.0.2.255", "2001:db8::1", "::ffff:192.0.2.7", "2001:db8:0:0::1%eth0"]
)
def test_an_address_within_the_networks_may_call(address):
    assert refusal(address=address, allowed_networks=NETWORKS) is None


@pytest.mark.parametrize(
    "address", ["192.0.3.1", "2001:db9::1", "::ffff:192.0.3.1", "::c000:207", "", "unix:", "192.0.2.7:80"]
)
def test_any_other_address_may_not(address):
    assert refusal(address=address, allowed_networks=NETWORKS) is Refusal.ADDRESS


def test_only_the_endpoints_that_are_listed_may_be_called():
    assert refusal(allowed_endpoints=("models",)) is Refusal.SCOPE
    assert refusal(allowed_endpoints=("models", "responses")) is None


def test_a_revoked_key_is_told_nothing_of_its_limits():
    ended = {"revoked_at": NOW, "expires_at": NOW, "suspended_at": NOW}
    assert refusal(**ended, address="192.0.3.1", allowed_networks=NETWORKS) is Refusal.REVOKED


@pytest.mark.parametrize("header", ["Bearer sk-1", "bearer sk-1", "BEARER   sk-1", " Bearer sk-1 ", "Bearer \t sk-1"])
def test_the_key_is_read_from_the_header(header):
    assert bearer(header) == "sk-1"


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Basic sk-1", "sk-1", "Bearersk-1", "Token Bearer sk-1"]
)
def test_no_bearer_is_a_missing_key(header):
    with pytest.raises(KeyRefused) as caught:
        bearer(header)
    assert (caught.value.refusal, caught.value.shown) == (Refusal.MISSING, "")


@pytest.mark.parametrize(
    ("key", "shown"),
    [("sk-tg-" + "a" * 35 + "wxyz", "sk-tg***wxyz"), ("sk-1", "sk***"), ("", "***"), ("x" * 19, "xx***")],
)
def test_of_an_unknown_key_little_is_repeated(key, shown):
    assert masked(key) == shown
