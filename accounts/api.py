"""The management API's list of keys."""

from typing import cast
from uuid import UUID

from django.db.models import Q, QuerySet
from django.utils.decorators import method_decorator
from django.views.decorators.cache import cache_control
from django_filters.rest_framework import CharFilter, FilterSet
from rest_framework.generics import ListAPIView
from rest_framework.pagination import CursorPagination
from rest_framework.serializers import CharField, ModelSerializer, UUIDField

from accounts.models import APIKey, User


def name_or_id(text: str, path: str = "") -> Q:
    """What is called `text`, or has it as its id. `path` leads to it, e.g. `project__`."""
    try:
        return Q(**{f"{path}id": UUID(text)})
    except ValueError:
        return Q(**{f"{path}name": text})


class KeySerializer(ModelSerializer[APIKey]):
    """Neither secret nor digest."""

    project = CharField(source="project.name")
    organization = CharField(source="project.organization.name")
    organization_id = UUIDField(source="project.organization_id")

    class Meta:
        model = APIKey
        fields = (
            "id", "name", "hint", "organization", "organization_id", "project", "project_id", "created_at",
            "expires_at", "revoked_at", "allowed_models", "allowed_endpoints", "allowed_networks", "tags",
            "last_used_at", "last_used_address", "last_used_agent",
        )  # fmt: skip


class KeyFilter(FilterSet):  # type: ignore[misc]  # django-filter has no types
    organization = CharFilter(method="filter_organization", label="Name or id of an organization.")
    project = CharFilter(method="filter_project", label="Name or id of a project.")

    def filter_organization(self, keys: QuerySet[APIKey], name: str, value: str) -> QuerySet[APIKey]:
        return keys.filter(name_or_id(value, "project__organization__"))

    def filter_project(self, keys: QuerySet[APIKey], name: str, value: str) -> QuerySet[APIKey]:
        return keys.filter(name_or_id(value, "project__"))


class NewestFirst(CursorPagination):
    ordering = ("-created_at", "-id")


@method_decorator(cache_control(no_store=True), name="dispatch")
class KeyList(ListAPIView[APIKey]):
    """The API keys you may see, the newest first: staff see all, members those of their organizations."""

    queryset = APIKey.objects.all()
    serializer_class = KeySerializer
    filterset_class = KeyFilter
    pagination_class = NewestFirst

    def get_queryset(self) -> QuerySet[APIKey]:
        return APIKey.objects.visible_to(cast(User, self.request.user)).select_related("project__organization")
