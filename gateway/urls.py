"""Everything but /v1, which gateway/v1_urls.py routes."""

from django.contrib import admin
from django.urls import path

from gateway import health

urlpatterns = [
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("metrics", health.metrics),
    path("admin/", admin.site.urls),
]
