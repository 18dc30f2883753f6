"""The routes of the data plane."""

from django.urls import path

from gateway import views

urlpatterns = [
    path("v1/responses", views.by_method(POST=views.create_response, GET=views.refuse_websocket)),
    path("v1/models", views.by_method(GET=views.list_models)),
]
