"""GET /v1/models: what a key may use, by names and not by patterns."""

import httpx

from tests.tenants import Tenant


def listed(tenant):
    response = httpx.get(f"{tenant.url}/models", headers=tenant.headers)
    assert response.status_code == 200
    return {model["id"]: model for model in response.json()["data"]}


def test_patterns_are_resolved_by_the_upstreams_own_list(acme):
    models = listed(acme)
    assert {"o3-pro", "gpt-4.1"} <= set(models)
    assert models["o3-pro"]["object"] == "model"
    assert models["o3-pro"]["endpoints"] == ["responses"]
    assert list(models) == sorted(models)


def test_a_key_sees_what_it_may_use(gateway, committed):
    narrow = Tenant.make("narrow", gateway.url, allowed_models=["o3-*"])
    assert set(listed(narrow)) == {name for name in listed(narrow) if name.startswith("o3-")}
    assert "o3-pro" in listed(narrow)


def test_a_key_is_needed(gateway):
    assert httpx.get(f"{gateway.url}/models").status_code == 401
