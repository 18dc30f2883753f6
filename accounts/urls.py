"""The management API's part about who."""

from django.urls import path

from accounts.api import KeyList

urlpatterns = [path("keys", KeyList.as_view(), name="keys")]
