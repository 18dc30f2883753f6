"""Everything but /v1, which gateway/v1_urls.py routes."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="console:today")),
    path("admin/", admin.site.urls),
    path("console/", include("gateway.console_urls")),
    path("api/v1/schema", SpectacularAPIView.as_view(), name="schema"),
    path("api/v1/", include("accounts.urls")),
    path("api/v1/", include("billing.urls")),
    path("favicon.ico", RedirectView.as_view(url=f"{settings.STATIC_URL}favicon.svg")),
]
