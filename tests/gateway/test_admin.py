import re
import uuid
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.urls import reverse

from accounts.models import APIKey, Organization, Project, User
from billing.models import Price, UsageRecord
from billing.prices.pricing import PriceSheet, TokenPrice, usd_per_million
from gateway import sealing
from gateway.models import Model, Upstream
from tests.accounts.rows import issued_key, person
from tests.billing.rows import held_record, post, settled_record

PROVIDER_KEY = "sk-provider-canary-0123456789"
ROUTES = {"routes-TOTAL_FORMS": 0, "routes-INITIAL_FORMS": 0}
PRICES = {"input": "1.25", "cached_input": "0.125", "cache_write": "1.25", "output": "10"}
REGISTERED = [(model._meta.app_label, model._meta.model_name) for model in admin.site._registry]


@pytest.fixture
def admin_user(db):
    """Without a password, whose hashing would take longer than the tests."""
    return User.objects.create_superuser("admin")


@pytest.fixture
def upstream(db):
    upstream = Upstream(name="openai", base_url="https://api.openai.com/v1")
    upstream.seal_key(PROVIDER_KEY)
    upstream.save()
    return upstream


def change(client, upstream, **fields):
    form = {"name": upstream.name, "base_url": upstream.base_url, "key": "", **ROUTES, **fields}
    response = client.post(reverse("admin:gateway_upstream_change", args=[upstream.pk]), form, follow=True)
    upstream.refresh_from_db()
    return response.content.decode()


def opened(upstream):
    return sealing.unseal(bytes(upstream.sealed_key), upstream.sealing_context).decode()


@pytest.fixture
def rows(upstream):
    """One row of everything."""
    key, _ = issued_key("acme")
    settled_record(key)
    post()
    settled_record(key)
    held_record(key)
    person("ann", organization="acme")
    stopped, _ = issued_key("stopped")
    now = datetime.now(UTC)
    Organization.objects.filter(pk=stopped.project.organization_id).update(suspended_at=now)
    Project.objects.filter(pk=stopped.project_id).update(suspended_at=now)
    APIKey.objects.filter(pk=stopped.pk).update(revoked_at=now)
    Model.objects.create(name="mine-*").routes.create(upstream=upstream)
    Price.objects.create(
        model="mine-*", effective_from=datetime(2026, 1, 1, tzinfo=UTC),
        **{f"{kind}_pico_usd": 1 for kind in PRICES},
    )  # fmt: skip


@pytest.mark.parametrize(("app", "model"), REGISTERED)
def test_every_page_of_the_admin_opens(admin_client, rows, app, model):
    listed = admin_client.get(reverse(f"admin:{app}_{model}_changelist"))
    added = admin_client.get(reverse(f"admin:{app}_{model}_add"))
    assert listed.status_code == 200
    assert added.status_code == (200 if listed.context["has_add_permission"] else 403)
    for row in listed.context["cl"].result_list[:3]:
        assert admin_client.get(reverse(f"admin:{app}_{model}_change", args=[row.pk])).status_code == 200


def test_the_first_page_starts_with_what_an_admin_comes_for(admin_client, rows):
    page = admin_client.get("/admin/").content.decode()

    assert re.search(r"\d+ usable now", page)
    assert re.search(r"\d+ in use, \d+ model", page)
    names = ("accounts_apikey_add", "gateway_upstream_add", "billing_price_add", "billing_quota_add")
    for name in names:
        assert f'href="{reverse(f"admin:{name}")}"' in page


def test_an_upstreams_key_is_sealed_and_never_shown(admin_client, db):
    form = {"name": "openai", "base_url": "https://api.openai.com/v1", "key": PROVIDER_KEY, **ROUTES}

    admin_client.post("/admin/gateway/upstream/add/", form)

    upstream = Upstream.objects.get(name="openai")
    assert opened(upstream) == PROVIDER_KEY
    for page in ("/admin/gateway/upstream/", f"/admin/gateway/upstream/{upstream.pk}/change/"):
        assert PROVIDER_KEY not in admin_client.get(page).content.decode()
    assert PROVIDER_KEY not in str(list(LogEntry.objects.values()))


@pytest.mark.parametrize("bad", ["sk-with a space", "sk-ключ", "sk-line\nbreak"])
def test_a_key_that_cannot_be_a_header_is_refused_and_not_repeated(admin_client, upstream, bad):
    page = change(admin_client, upstream, key=bad)

    assert opened(upstream) == PROVIDER_KEY
    assert "Copy it anew" in page
    assert bad not in page


@pytest.mark.parametrize("word", ["sk-abc1", "Password", "123456789"])
def test_a_key_that_is_a_mere_word_is_refused(admin_client, upstream, word):
    page = change(admin_client, upstream, key=word)

    assert opened(upstream) == PROVIDER_KEY
    assert "cannot be a secret" in page
    assert word not in page


def test_saving_without_a_key_keeps_the_one_there_is(admin_client, upstream):
    change(admin_client, upstream, name="renamed", base_url="https://api.openai.com/v2")

    assert upstream.name == "renamed"
    assert opened(upstream) == PROVIDER_KEY


@pytest.mark.parametrize(
    "elsewhere", ["https://evil.example/v1", "http://api.openai.com/v1", "https://api.openai.com:8443/v1"]
)
def test_an_upstream_that_moves_loses_its_key(admin_client, upstream, elsewhere):
    page = change(admin_client, upstream, base_url=elsewhere, allow_private="on")

    assert upstream.base_url == elsewhere
    assert upstream.sealed_key is None
    assert "its key was erased" in page


def test_an_upstream_that_moves_keeps_the_key_entered_with_the_move(admin_client, upstream):
    change(admin_client, upstream, base_url="https://eu.example/v1", key="sk-new-0123456789")

    assert opened(upstream) == "sk-new-0123456789"


def test_a_model_is_added_with_its_route(admin_client, upstream):
    route = {
        "routes-TOTAL_FORMS": 1, "routes-INITIAL_FORMS": 0, "routes-0-upstream": upstream.pk, "routes-0-position": 0,
    }  # fmt: skip
    form = {"name": "mine-*", "endpoints": ["responses"], "context_window": 400000, "max_output_tokens": 128000}

    admin_client.post("/admin/gateway/model/add/", {**form, **route})

    assert Model.objects.get(name="mine-*").routes.get().upstream == upstream
    assert "openai" in admin_client.get("/admin/gateway/model/").content.decode()


def set_price(client, variants=(), tools=(), **fields):
    when = {"effective_from_0": "2026-01-01", "effective_from_1": "00:00:00"}
    form = {"model": "mine-*", **when, **PRICES, **fields}
    for prefix, rows in (("variants", variants), ("tools", tools)):
        form |= {f"{prefix}-TOTAL_FORMS": len(rows), f"{prefix}-INITIAL_FORMS": 0}
        form |= {f"{prefix}-{number}-{name}": value for number, row in enumerate(rows) for name, value in row.items()}
    return client.post("/admin/billing/price/add/", form)


FLEX = {"service_tier": "flex", "above_input_tokens": 0, **PRICES}
LONG = {"service_tier": "default", "above_input_tokens": 272_000, **PRICES}


def test_a_price_is_kept_exactly_as_it_was_written(admin_client, admin_user, db):
    set_price(admin_client, cached_input="0.000001", output="1234.567891")

    price = Price.objects.get(model="mine-*")
    assert (price.input_pico_usd, price.cached_input_pico_usd) == (1_250_000, 1)
    assert usd_per_million(price.output_pico_usd) == Decimal("1234.567891")
    assert price.created_by == admin_user
    assert "$1,234.567891" in admin_client.get("/admin/billing/price/").content.decode()


@pytest.mark.parametrize("amount", ["0.0000001", "-1", "NaN", "Infinity", "1e400", "free", ""])
def test_a_price_that_cannot_be_kept_exactly_is_refused(admin_client, db, amount):
    response = set_price(admin_client, input=amount)

    assert response.status_code == 200
    assert not Price.objects.filter(model="mine-*").exists()


def test_two_prices_of_a_model_from_the_same_moment_are_refused(admin_client, db):
    set_price(admin_client)

    assert "already exists" in set_price(admin_client).content.decode()
    assert Price.objects.filter(model="mine-*").count() == 1


def test_a_price_is_entered_with_its_tiers_and_tools_and_shown_with_them(admin_client, db):
    set_price(
        admin_client,
        [FLEX | {"service_tier": " Flex", "input": "0.625", "reasoning": "11"}, LONG | {"input": "2.5"}],
        [{"tool": "web_search_call", "usd": "10"}, {"tool": "container", "usd": "30"}], reasoning="12",
    )  # fmt: skip

    price = Price.objects.get(model="mine-*")
    rest = (125_000, 1_250_000, 10_000_000)
    assert price.sheet == PriceSheet.of(
        TokenPrice(1_250_000, *rest, 12_000_000),
        [("flex", 0, TokenPrice(625_000, *rest, 11_000_000)), ("default", 272_000, TokenPrice(2_500_000, *rest))],
        {"web_search": 10**10, "container": 3 * 10**10},
    )
    page = admin_client.get(reverse("admin:billing_price_change", args=[price.pk])).content.decode()
    for figure in ("$0.625", "$11.00", "$2.50", "$30.00", "272000"):
        assert figure in page
    assert 'name="variants-0-input"' not in page


@pytest.mark.parametrize(
    ("variants", "tools", "sentence"),
    [
        ([LONG | {"input": "0.0000001"}], [], "6 decimal places"), ([LONG, LONG], [], "duplicate"),
        ([LONG | {"above_input_tokens": 0}], [], "two prices"),
        ([FLEX | {"above_input_tokens": 9}], [], "none for the others"),
        ([LONG | {"above_input_tokens": -1}], [], "greater than or equal to 0"),
        ([LONG | {"above_input_tokens": 10**12}], [], "less than or equal to"),
        ([], [{"tool": "mcp", "usd": "free"}], "Enter a number"), ([], [{"tool": "", "usd": "1"}], "required"),
        ([], [{"tool": "mcp", "usd": "1"}] * 2, "duplicate"),
    ],
)  # fmt: skip
def test_a_price_with_a_part_that_cannot_be_is_refused_whole(admin_client, db, variants, tools, sentence):
    assert sentence in set_price(admin_client, variants, tools).content.decode()
    assert not Price.objects.exists()


def test_a_leap_is_confirmed_in_a_box_that_comes_with_the_question(admin_client, db):
    box, tool = '<input type="checkbox" name="confirm"', {"tool": "web_search", "usd": "10"}
    assert box not in admin_client.get("/admin/billing/price/add/").content.decode()
    set_price(admin_client, [FLEX], [tool])
    later = {"effective_from_0": "2026-02-01", "input": "12.5"}

    page = set_price(admin_client, [FLEX | {"output": "1"}], **later).content.decode()

    assert box in page
    assert "input from 1.25 to 12.5 USD per million tokens" in page
    assert "flex output from 10 to 1 USD" in page
    assert "web_search calls from 10 to 0 USD per thousand calls" in page
    assert Price.objects.count() == 1
    set_price(admin_client, [FLEX | {"output": "1"}], confirm="on", **later)
    assert Price.objects.count() == 2


def test_a_price_that_hardly_changes_needs_no_word(admin_client, db):
    set_price(admin_client, [FLEX])
    set_price(admin_client, [FLEX | {"input": "5"}], effective_from_0="2026-02-01", input="6.25", confirm="False")
    assert Price.objects.count() == 2


@pytest.mark.parametrize("page", ["change", "delete"])
def test_a_price_is_never_edited(admin_client, rows, page):
    price = Price.objects.get(model="mine-*")
    url = reverse(f"admin:billing_price_{page}", args=[price.pk])

    assert admin_client.post(url, {"model": "cheaper", "post": "yes", **PRICES}).status_code == 403
    price.refresh_from_db()
    assert price.model == "mine-*"


@pytest.mark.parametrize("model", ["usagerecord", "usagerollup", "ledgerentry"])
def test_the_books_are_only_read(admin_client, rows, model):
    listed = admin_client.get(reverse(f"admin:billing_{model}_changelist")).context["cl"].result_list
    for row in listed[:3]:
        for page in ("change", "delete"):
            assert admin_client.post(reverse(f"admin:billing_{model}_{page}", args=[row.pk])).status_code == 403


def test_a_request_id_finds_its_record_and_the_bill_line_by_line(admin_client, rows):
    wanted = UsageRecord.objects.filter(state="settled", organization__name="acme").first()

    listed = admin_client.get("/admin/billing/usagerecord/", {"q": str(wanted.pk)}).context["cl"].result_list
    page = admin_client.get(reverse("admin:billing_usagerecord_change", args=[wanted.pk])).content.decode()

    assert list(listed) == [wanted]
    assert "input: 1\u202f000 x $1.25 per million = $0.00125" in page
    assert "output: 100 x $10.00 per million = $0.001" in page
    assert "$0.00225" in page


def test_an_unknown_request_id_finds_nothing(admin_client, rows):
    listed = admin_client.get("/admin/billing/usagerecord/", {"q": str(uuid.uuid4())}).context["cl"].result_list

    assert not listed
