"""Django's admin under Tollgate's name. Its first page starts with what an admin comes for."""

from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest
from django.template.response import TemplateResponse

from accounts.models import APIKey
from billing.models import Price
from gateway.models import Model, Upstream


class TollgateAdminSite(AdminSite):
    site_header = "Tollgate"
    site_title = "Tollgate"
    index_title = "Administration"
    index_template = "admin/tollgate_index.html"
    enable_nav_sidebar = False  # the head has what is used daily, and tables need the width

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        return super().index(request, {**(extra_context or {}), "standing": standing()})


def standing() -> dict[str, int]:
    """How many there are of what a request needs."""
    return {
        "keys": APIKey.objects.usable().count(),
        "upstreams": Upstream.objects.filter(disabled_at=None).count(),
        "models": Model.objects.filter(disabled_at=None).count(),
        "prices": Price.objects.values("model").distinct().count(),
    }
