"""The routes of the data plane."""

from django.urls import path

from gateway.views.create import compact_response, count_input_tokens, create_response
from gateway.views.entry import by_method
from gateway.views.models import list_models, retrieve_model

urlpatterns = [
    path("v1/responses", by_method(POST=create_response)),
    path("v1/responses/input_tokens", by_method(POST=count_input_tokens)),
    path("v1/responses/compact", by_method(POST=compact_response)),
    path("v1/models", by_method(GET=list_models)),
    path("v1/models/<path:model>", by_method(GET=retrieve_model)),
]
