"""The routes of the data plane."""

from django.urls import path

from gateway.views import by_method, create_response, list_models, refuse_websocket

urlpatterns = [
    path("v1/responses", by_method(POST=create_response, GET=refuse_websocket)),
    path("v1/models", by_method(GET=list_models)),
]
