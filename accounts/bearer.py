"""The management API's authentication by an inference key: only the Authorization header is read."""

from ipaddress import ip_network
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView, exception_handler

from accounts import keys
from accounts.authentication import KeyFacts, KeyRefused, Refusal, bearer, check, masked
from accounts.models import APIKey
from accounts.peppers import digests

INCORRECT = "Incorrect API key provided: {shown}. You can ask who manages this gateway for one."
ANSWERS = {  # message and code; an unknown, a revoked and an expired key are told the same
    Refusal.MISSING: ("Missing bearer authentication in header. Send Authorization: Bearer YOUR_KEY.", None),
    Refusal.UNKNOWN: (INCORRECT, "invalid_api_key"),
    Refusal.REVOKED: (INCORRECT, "invalid_api_key"),
    Refusal.EXPIRED: (INCORRECT, "invalid_api_key"),
    Refusal.SUSPENDED: ("The organization or project of this key has been deactivated.", "account_deactivated"),
    Refusal.ADDRESS: ("This key may not be used from your address.", None),
}


class BearerKey(BaseAuthentication):
    """`request.auth` is the APIKey; no user comes with it. Whoever sends none is refused."""

    def authenticate(self, request: Request) -> tuple[AnonymousUser, APIKey]:
        try:
            return AnonymousUser(), self._key(request)
        except KeyRefused as refused:
            message, code = ANSWERS[refused.refusal]
            raise AuthenticationFailed(message.format(shown=refused.shown), code=code) from refused

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"

    def _key(self, request: Request) -> APIKey:
        secret = bearer(request.headers.get("Authorization"))
        if not keys.is_wellformed(secret):
            raise KeyRefused(Refusal.UNKNOWN, masked(secret))
        found = APIKey.objects.select_related("project__organization").filter(digest__in=list(digests(secret))).first()
        if found is None:
            raise KeyRefused(Refusal.UNKNOWN, masked(secret))
        # No scope is named: a key that may call few of them may still ask which.
        address = request.META.get("REMOTE_ADDR", "")
        refusal = check(_facts(found), address=address, scope=None, now=timezone.now())
        if refusal is not None:
            raise KeyRefused(refusal, found.hint)
        return found


class HasKey(BasePermission):
    def has_permission(self, request: Request, view: APIView) -> bool:
        return isinstance(request.auth, APIKey)


class BearerKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # it registers itself
    """How the schema calls it."""

    target_class = "accounts.bearer.BearerKey"
    name = "inferenceKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "An API key as /v1 takes it."}


def openai_envelope(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler for views under BearerKey: the errors of /v1, so that clients know them."""
    response = exception_handler(error, context)
    if response is None:
        return None
    detail = getattr(error, "detail", str(error))
    code = getattr(detail, "code", None)
    code = None if code == AuthenticationFailed.default_code else code
    response.data = {"error": {"message": str(detail), "type": "invalid_request_error", "param": None, "code": code}}
    return response


def _facts(key: APIKey) -> KeyFacts:
    project, organization = key.project, key.project.organization
    suspended = [moment for moment in (organization.suspended_at, project.suspended_at) if moment]
    return KeyFacts(
        id=key.id, name=key.name, hint=key.hint, project_id=project.id, project=project.name,
        organization_id=organization.id, organization=organization.name, expires_at=key.expires_at,
        revoked_at=key.revoked_at, suspended_at=min(suspended, default=None),
        allowed_networks=tuple(map(ip_network, key.allowed_networks)),
    )  # fmt: skip
