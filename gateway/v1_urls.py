"""The routes of the data plane."""

from django.urls import path

from gateway.views.create import create_response
from gateway.views.entry import by_method
from gateway.views.models import list_models, retrieve_model

urlpatterns = [
    path("v1/responses", by_method(POST=create_response)),
    path("v1/models", by_method(GET=list_models)),
    path("v1/models/<path:model>", by_method(GET=retrieve_model)),
]
