import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from billing.books import hours
from billing.books.reports import today
from billing.models import UsageRecord
from billing.prices.tokens import TokenUsage
from billing.templatetags import figures
from tests.accounts.rows import issued_key, person
from tests.billing.rows import held_record, post, settled_record, void

TODAY = "/console/"
MIDNIGHT = datetime(2026, 3, 14, tzinfo=UTC)


@pytest.fixture
def admin_user(db):
    """Without a password, whose hashing would take longer than the tests."""
    return User.objects.create_superuser("admin")


@pytest.fixture
def acme(db):
    return issued_key("acme", name="acme-bot")[0]


@pytest.fixture
def globex(db):
    return issued_key("globex", name="globex-bot")[0]


@pytest.fixture
def member(client, acme):
    client.force_login(person("ann", organization="acme"))
    return client


def look(client, key, **query):
    """The page of the key's organization alone: other tests commit records."""
    return client.get(TODAY, {"organization": key.project.organization_id, **query}).content.decode()


def test_whoever_is_not_logged_in_is_asked_to_be(client, db):
    response = client.get(TODAY)

    assert response.status_code == 302
    assert response["Location"] == "/console/login?next=/console/"


def test_logging_in_leads_to_today_and_logging_out_back(client, db):
    person("ann", password="a-long-enough-password")

    wrong = client.post("/console/login", {"username": "ann", "password": "wrong"})
    right = client.post("/console/login", {"username": "ann", "password": "a-long-enough-password"})
    out = client.post("/console/logout")

    assert "correct username and password" in wrong.content.decode()
    assert right["Location"] == TODAY
    assert out["Location"] == "/console/login"
    assert client.get(TODAY).status_code == 302


def test_an_empty_console_teaches_the_first_request(member):
    page = member.get(TODAY).content.decode()

    assert "No requests yet" in page
    assert f"curl {settings.PUBLIC_URL}/v1/responses" in page
    assert "$TOLLGATE_KEY" in page


def test_staff_see_every_organization(admin_client, acme, globex):
    settled_record(acme)
    settled_record(globex)

    page = admin_client.get(TODAY).content.decode()

    assert "acme-bot" in page
    assert "globex-bot" in page


def test_members_see_their_organization_alone(member, acme, globex):
    settled_record(acme)
    settled_record(globex, model="secret-model")
    post()
    settled_record(globex, model="secret-model")

    for group in ("organization", "project", "key", "model"):
        response = member.get(TODAY, {"by": group})
        page = response.content.decode()
        assert "acme-bot" in page
        assert "globex" not in page
        assert "secret-model" not in page
        assert response.context["used"]["total"]["requests"] == 1


def test_a_foreign_organization_is_as_unknown_as_an_unknown_one(member, globex):
    settled_record(globex)

    answers = [
        member.get(TODAY, {"organization": organization})
        for organization in (globex.project.organization_id, uuid.uuid4(), "no-id", "1' or '1'='1")
    ]

    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1


def test_the_address_chooses_the_organization_and_the_group(admin_client, acme, globex):
    settled_record(acme)
    settled_record(globex)

    page = look(admin_client, acme, by="key")

    assert acme.hint in page
    assert "globex-bot" not in page


@pytest.mark.parametrize("group", ["hour", "day", "password", "organization,key"])
def test_an_unknown_group_is_not_found(admin_client, group):
    assert admin_client.get(TODAY, {"by": group}).status_code == 404


def test_the_figures_are_those_of_the_records_posted_or_not(admin_client, acme):
    usage = TokenUsage(input=2_000_000, cached=500_000, output=1_000, reasoning=250)
    settled_record(acme, usage)
    post()
    settled_record(acme, usage)
    void(held_record(acme))

    page = look(admin_client, acme).replace("\u202f", " ")

    records = UsageRecord.objects.filter(api_key=acme)
    cost = sum(record.cost_nano_usd for record in records)
    assert figures.usd_rounded(cost) in page
    assert f"exactly {figures.usd(cost)}" in page
    assert "4 000 000" in page
    assert "1 failed" in page
    assert "25 % cached" in page
    assert "25 % reasoning" in page


def test_requests_before_midnight_are_listed_but_not_summed(admin_client, acme):
    settled_record(acme, at=today() - timedelta(seconds=1))

    page = look(admin_client, acme)

    assert "No requests since midnight UTC" in page
    assert "acme-bot" in page
    assert "Last 1 request<" in page


def test_open_and_failed_requests_show_as_such(admin_client, acme):
    held_record(acme)
    void(held_record(acme), status=503)
    void(held_record(acme), status=None)

    page = look(admin_client, acme)

    assert ">open<" in page
    assert "held $0.005" in page
    assert "503, void" in page
    assert "client left, void" in page


def test_a_request_leads_staff_to_its_record_and_members_nowhere(admin_client, member, acme):
    record_id = settled_record(acme)

    assert f"/admin/billing/usagerecord/{record_id}/change/" in admin_client.get(TODAY).content.decode()
    assert 'href="/admin/' not in member.get(TODAY).content.decode()


def test_names_are_text_and_never_markup(admin_client, db):
    canary = "<script>alert(1)</script>'\"&{{ 7 }}"
    key, _ = issued_key(canary, canary, canary)
    settled_record(key, model=canary)

    for group in ("organization", "project", "key", "model"):
        page = admin_client.get(TODAY, {"by": group}).content.decode()
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert(1)" in page


def test_the_page_is_kept_by_no_cache_and_allows_no_foreign_script(admin_client, acme):
    response = admin_client.get(TODAY)

    assert "no-store" in response["Cache-Control"]
    policy = response["Content-Security-Policy"]
    assert "script-src 'self';" in policy + ";"
    assert "style-src 'self';" in policy + ";"
    assert "unsafe" not in policy
    page = response.content.decode()
    assert "style=" not in page
    assert "<style" not in page


def test_more_requests_ask_the_database_no_more(admin_client, acme, globex):
    def queries():
        with CaptureQueriesContext(connection) as captured:
            admin_client.get(TODAY, {"by": "key"})
        return len(captured)

    settled_record(acme)
    for_one = queries()
    for _ in range(5):
        settled_record(globex)

    assert queries() == for_one
    assert for_one <= 8


def test_at_most_fifty_requests_are_listed(admin_client, acme):
    for _ in range(51):
        held_record(acme)

    assert look(admin_client, acme).count(">open<") == 50


def test_organizations_are_offered_only_where_there_is_a_choice(admin_client, member, acme, globex):
    assert "All organizations" in admin_client.get(TODAY).content.decode()


def test_a_member_of_one_organization_is_offered_no_other(member, globex):
    assert "<select" not in member.get(TODAY).content.decode()


def row(moment, cost, requests=1):
    return {"hour": moment.isoformat().replace("+00:00", "Z"), "cost_nano_usd": cost, "requests": requests}


def test_the_highest_hour_of_both_days_fills_the_picture():
    yesterday = MIDNIGHT - timedelta(days=1)

    day = hours.of_day(MIDNIGHT, [row(yesterday + timedelta(hours=9), 400), row(MIDNIGHT + timedelta(hours=9), 100)])

    assert [hour.number for hour in day] == list(range(24))
    assert (day[9].height, day[9].top, day[9].height_before) == (25, 75, 100)
    assert sum(hour.height for hour in day) == 25


def test_an_hour_that_cost_something_is_seen_and_a_free_one_is_not():
    day = hours.of_day(MIDNIGHT, [row(MIDNIGHT, 1), row(MIDNIGHT + timedelta(hours=1), 10**9), row(MIDNIGHT, 1)])

    assert [hour.height for hour in day[:3]] == [1, 100, 0]
    assert all(hour.height == 0 for hour in hours.of_day(MIDNIGHT, [row(MIDNIGHT, 0)]))
