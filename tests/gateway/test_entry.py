"""Who may call what: every route of the URLconf, with every kind of key."""

import httpx
import pytest
from django.urls import URLPattern, get_resolver

from accounts import keys
from accounts.authentication import Scope
from gateway.views.entry import by_method
from tests.tenants import Tenant, until

VALUES = {"response_id": "resp_0123456789", "model": "o3-pro"}


def routes():
    """Each (method, path, scope) of the URLconf."""
    for pattern in get_resolver("gateway.v1_urls").url_patterns:
        assert isinstance(pattern, URLPattern), "an include needs a look at what it includes"
        path = str(pattern.pattern)
        for name, value in VALUES.items():
            path = path.replace(f"<str:{name}>", value).replace(f"<path:{name}>", value)
        assert "<" not in path, "say a value for it"
        for method, view in pattern.callback.views.items():
            yield method, f"/{path}", view.scope


ROUTES = sorted(routes())
MISSING = {Scope.RESPONSES: "api.responses.write", Scope.READ: "api.responses.read", Scope.MODELS: "api.model.read"}


@pytest.fixture(scope="module")
def credentials(gateway, plane_unblocked):
    """Headers by the kind of key; what of a scope has no key is made as needed."""
    revoked = Tenant.make("revoked", gateway.url)
    expired = Tenant.make("expired", gateway.url, expires_at="2026-01-01T00:00Z")
    revoked.key.revoke()
    suspended = Tenant.make("suspended", gateway.url)
    suspended.project.suspended_at = "2026-01-01T00:00Z"
    suspended.project.save()
    elsewhere = Tenant.make("elsewhere", gateway.url, allowed_networks=["192.0.2.0/24"])
    lacking = {
        scope: Tenant.make("lacking", gateway.url, allowed_endpoints=[other.value for other in Scope if other != scope])
        for scope in Scope
    }
    only = {scope: Tenant.make("only", gateway.url, allowed_endpoints=[scope.value]) for scope in Scope}
    return {
        "none": {}, "basic": {"Authorization": "Basic dXNlcjpwYXNz"}, "garbage": bearer("sk-garbage"),
        "never issued": bearer(keys.generate()), "revoked": revoked.headers, "expired": expired.headers,
        "suspended": suspended.headers, "elsewhere": elsewhere.headers,
        "lacking": {scope: tenant.headers for scope, tenant in lacking.items()},
        "only": {scope: tenant.headers for scope, tenant in only.items()},
    }  # fmt: skip


def bearer(secret):
    return {"Authorization": f"Bearer {secret}"}


def test_a_view_that_does_not_say_whom_it_allows_cannot_be_routed():
    async def open_to_all(request):
        raise AssertionError

    with pytest.raises(TypeError, match="does not say whom it allows"):
        by_method(GET=open_to_all)


def test_each_route_has_a_scope_that_an_admin_can_grant():
    assert {scope for _, _, scope in ROUTES} == set(Scope)


@pytest.mark.parametrize(
    ("credential", "code"),
    [
        ("none", None), ("basic", None), ("garbage", "invalid_api_key"), ("never issued", "invalid_api_key"),
        ("revoked", "invalid_api_key"), ("expired", "invalid_api_key"), ("suspended", "account_deactivated"),
        ("elsewhere", None),
    ],
)  # fmt: skip
def test_no_route_is_open_to(gateway, credentials, credential, code):
    with httpx.Client(base_url=gateway.origin, headers=credentials[credential]) as client:
        for method, path, _ in ROUTES:
            response = until(lambda m=method, p=path: refused(client.request(m, p)), seconds=3)
            assert response.json()["error"]["code"] == code, (method, path)


def refused(response):
    return response if response.status_code == 401 else None


def test_a_key_reaches_the_routes_of_its_scopes_and_no_other(gateway, credentials):
    with httpx.Client(base_url=gateway.origin) as client:
        for method, path, scope in ROUTES:
            response = client.request(method, path, headers=credentials["lacking"][scope])
            assert response.status_code == 401, (method, path)
            assert f"Missing scopes: {MISSING[scope]}" in response.json()["error"]["message"]
            response = client.request(method, path, headers=credentials["only"][scope])
            assert response.status_code != 401, (method, path)


def test_other_methods_are_told_which_there_are(gateway):
    by_path = {}
    for method, path, _ in ROUTES:
        by_path.setdefault(path, []).append(method)
    for path, methods in by_path.items():
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} - set(methods):
            response = httpx.request(method, f"{gateway.origin}{path}")
            assert response.status_code == 405
            assert set(response.headers["allow"].split(", ")) == set(methods)
            assert response.json()["error"]["code"] == "method_not_supported"
