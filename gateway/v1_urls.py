"""The routes of the data plane."""

from django.urls import path

from gateway.views.create import compact_response, count_input_tokens, create_response
from gateway.views.entry import by_method
from gateway.views.models import list_models, retrieve_model
from gateway.views.stored import cancel_response, delete_response, list_input_items, retrieve_response

urlpatterns = [
    path("v1/responses", by_method(POST=create_response)),
    path("v1/responses/input_tokens", by_method(POST=count_input_tokens)),
    path("v1/responses/compact", by_method(POST=compact_response)),
    path("v1/responses/<str:response_id>", by_method(GET=retrieve_response, DELETE=delete_response)),
    path("v1/responses/<str:response_id>/cancel", by_method(POST=cancel_response)),
    path("v1/responses/<str:response_id>/input_items", by_method(GET=list_input_items)),
    path("v1/models", by_method(GET=list_models)),
    path("v1/models/<path:model>", by_method(GET=retrieve_model)),
]
