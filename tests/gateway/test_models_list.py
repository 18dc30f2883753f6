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


def test_a_model_is_retrieved_as_it_is_listed(acme):
    response = httpx.get(f"{acme.url}/models/gpt-4.1", headers=acme.headers)
    assert response.status_code == 200
    assert response.json() == listed(acme)["gpt-4.1"]


def test_what_is_not_listed_is_unknown_whatever_the_reason(gateway, committed):
    narrow = Tenant.make("narrow", gateway.url, allowed_models=["o3-*"])
    for name in ("gpt-4.1", "nonesuch", "o3-nonesuch", "o3-*", "gpt-4.1/x"):
        response = httpx.get(f"{narrow.url}/models/{name}", headers=narrow.headers)
        assert response.status_code == 404
        assert response.json()["error"] == {
            "message": f"The model `{name}` does not exist or you do not have access to it.",
            "type": "invalid_request_error", "param": "model", "code": "model_not_found",
        }  # fmt: skip
