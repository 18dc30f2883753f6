"""The management API's part about usage."""

from django.urls import path

from billing.api import OwnKey, UsageView

urlpatterns = [
    path("usage", UsageView.as_view(), name="usage"),
    path("key", OwnKey.as_view(), name="own-key"),
]
