"""The catalog from its rows: what may be called, what it costs now and from when on."""

import json
import uuid
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from django.db import connection

from billing.models import Price
from billing.prices.pricing import PriceSheet, TokenPrice
from gateway.catalog import ModelNotAllowed, NotServedOnEndpoint, UnknownModel
from gateway.models import Model, Route, Upstream
from gateway.snapshot_queries import CATALOG, catalog_of
from tests import plane_database
from tests.tenants import revision

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def names(committed):
    """A prefix that no other test's rows have; what begins with it is deleted at the end."""
    prefix = f"cat{uuid.uuid4().hex[:8]}"
    yield prefix
    Route.objects.filter(model__name__startswith=prefix).delete()
    Model.objects.filter(name__startswith=prefix).delete()
    Upstream.objects.filter(name__startswith=prefix).delete()
    Price.objects.filter(model__startswith=prefix).delete()


def add(name, url, *, key=None, **fields):
    upstream = Upstream(name=f"{name}-upstream", base_url=url, **fields)
    if key:
        upstream.seal_key(key)
    upstream.save()
    model = Model.objects.create(name=name)
    Route.objects.create(model=model, upstream=upstream)
    return upstream


def price(model, effective_from, dollars):
    pico = dollars * 1_000_000
    return Price.objects.create(
        model=model, effective_from=effective_from, input_pico_usd=pico, cached_input_pico_usd=pico,
        cache_write_pico_usd=pico, output_pico_usd=pico,
    )  # fmt: skip


def read(options=""):
    with psycopg.connect(plane_database.url(), options=options) as connection:
        return catalog_of(*connection.execute(CATALOG).fetchone()[1:])


def test_an_upstream_whose_url_is_not_allowed_any_more_keeps_no_other(names, caplog):
    add(f"{names}-good", "https://api.example.com/v1")
    add(f"{names}-bad", "http://api.example.com/v1")  # plain http, written before it was refused
    add(f"{names}-worse", "https://[::1/v1")
    catalog = read()
    assert catalog.serving(f"{names}-good").routes[0].upstream.base_url == "https://api.example.com/v1"
    assert catalog.serving(f"{names}-bad").routes == catalog.serving(f"{names}-worse").routes == ()
    assert f"upstream {names}-bad-upstream cannot be used" in caplog.text


def test_the_rows_come_as_they_are_whatever_the_session_says(names):
    upstream = add(f"{names}-m", "https://api.example.com/v1", key="sk-secret")
    price(f"{names}-m", datetime(2026, 1, 1, 0, 0, 0, 250_000, tzinfo=UTC), 2)
    catalog = read("-c timezone=Asia/Kolkata -c datestyle=German")
    assert catalog.serving(f"{names}-m").routes[0].upstream.sealed_key == bytes(upstream.sealed_key)
    found = catalog.price_of(f"{names}-m", NOW)
    assert found.effective_from == datetime(2026, 1, 1, 0, 0, 0, 250_000, tzinfo=UTC)


def test_a_price_takes_effect_with_no_change_to_the_catalog(names):
    model = f"{names}-m"
    price(model, NOW - timedelta(days=1), 1)
    price(model, NOW + timedelta(hours=1), 3)
    catalog = read()
    inputs = [catalog.price_of(model, NOW + timedelta(hours=hours)).sheet.base.input for hours in (0, 1, 2)]
    assert inputs == [1_000_000, 3_000_000, 3_000_000]
    assert catalog.price_of(model, NOW - timedelta(days=2)) is None


def test_a_price_comes_with_its_tiers_brackets_and_tools(names):
    sheet = PriceSheet.of(
        TokenPrice(4, 1, 5, 8, 9),
        [("default", 272_000, TokenPrice(8, 2, 10, 12)), ("flex", 0, TokenPrice(2, 1, 3, 4))],
        {"web_search": 10**10, "container": 3 * 10**10},
    )
    for model in (f"{names}-a", f"{names}-b"):
        Price.objects.enter(model, NOW, sheet)
    Price.objects.enter(f"{names}-c", NOW, PriceSheet(TokenPrice(1, 1, 1, 1)))
    found = [read().price_of(f"{names}-{model}", NOW).sheet for model in "abc"]
    assert found == [sheet, sheet, PriceSheet(TokenPrice(1, 1, 1, 1))]
    assert Price.objects.get(model=f"{names}-a").sheet == sheet


@pytest.mark.parametrize("table", ["billing_pricevariant", "billing_toolprice"])
def test_what_belongs_to_a_price_raises_the_revision(names, table):
    Price.objects.enter(
        f"{names}-m", NOW, PriceSheet.of(TokenPrice(1, 1, 1, 1), [("flex", 0, TokenPrice(1, 1, 1, 1))], {"mcp": 1})
    )
    before = revision()
    with connection.cursor() as cursor:
        cursor.execute(
            f"DELETE FROM {table} WHERE price_id = (SELECT id FROM billing_price WHERE model = %s)", [f"{names}-m"]
        )
    assert revision() > before


def test_disabled_upstreams_and_models_serve_nothing(names):
    add(f"{names}-a", "https://api.example.com/v1", disabled_at=NOW)
    Model.objects.create(name=f"{names}-b", disabled_at=NOW)
    catalog = read()
    assert catalog.serving(f"{names}-a").routes == ()
    assert f"{names}-b" not in catalog.models


def test_the_refusal_says_what_is_missing(names):
    Model.objects.create(name=f"{names}-*", endpoints=["responses"])
    catalog = read()
    with pytest.raises(UnknownModel) as unknown:
        catalog.model_for("nonesuch", endpoint="responses", allowed=())
    assert type(unknown.value) is UnknownModel
    with pytest.raises(ModelNotAllowed):
        catalog.model_for(f"{names}-1", endpoint="responses", allowed=("other-*",))
    with pytest.raises(NotServedOnEndpoint):
        catalog.model_for(f"{names}-1", endpoint="embeddings", allowed=())


def test_names_from_outside_are_not_remembered_without_bound(names):
    catalog = read()
    for number in range(10_000):
        assert catalog.serving(f"nonesuch-{number}") is None
    assert len(catalog._remembered) <= 4096


def test_rows_are_plain_json(names):
    add(f"{names}-m", "https://api.example.com/v1", key="sk-secret")
    with psycopg.connect(plane_database.url()) as connection:
        row = connection.execute(CATALOG).fetchone()
    assert "sk-secret" not in json.dumps(row[1:])
