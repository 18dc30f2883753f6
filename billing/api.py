"""The management API's answers about usage: for people by session, for a key about itself."""

from collections.abc import Callable
from typing import Any, cast

from django.shortcuts import get_object_or_404
from django.utils.decorators import method_decorator
from django.views.decorators.cache import cache_control
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import (
    CharField,
    DateTimeField,
    IntegerField,
    ListField,
    MultipleChoiceField,
    Serializer,
    UUIDField,
)
from rest_framework.views import APIView

from accounts.api import name_or_id
from accounts.bearer import BearerKey, HasKey, openai_envelope
from accounts.models import APIKey, Organization, User
from billing.books.reports import Group, today, usage

EVERY = ["*"]


class UsageQuerySerializer(Serializer[Any]):
    organization = CharField(required=False, help_text="Name or id of an organization that you may see.")
    since = DateTimeField(required=False, help_text="Counted from the start of its hour.")
    group_by = MultipleChoiceField(
        choices=[str(group) for group in Group], required=False,
        help_text="May be repeated; key and model when left out. A project brings its organization, a key both.",
    )  # fmt: skip


class SumsSerializer(Serializer[Any]):
    requests = IntegerField(help_text="Settled.")
    voided = IntegerField(help_text="Admitted, failed and not charged.")
    input_tokens = IntegerField()
    cached_tokens = IntegerField()
    cache_write_tokens = IntegerField()
    output_tokens = IntegerField()
    reasoning_tokens = IntegerField()
    cost_nano_usd = IntegerField()
    charged_nano_usd = IntegerField()
    overage_nano_usd = IntegerField()


class UsageRowSerializer(SumsSerializer):
    organization_id = UUIDField(required=False)
    organization = CharField(required=False)
    project_id = UUIDField(required=False)
    project = CharField(required=False)
    key_id = UUIDField(required=False)
    key = CharField(required=False)
    hint = CharField(required=False)
    model = CharField(required=False)
    hour = DateTimeField(required=False)
    day = DateTimeField(required=False)


class UsageSerializer(Serializer[Any]):
    since = DateTimeField(allow_null=True, help_text="What is counted from; null: everything.")
    rows = UsageRowSerializer(many=True)
    total = SumsSerializer()


class UsageTodaySerializer(SumsSerializer):
    since = DateTimeField(help_text="When today began in the organization's time zone, at its hour in UTC.")


class OwnKeySerializer(Serializer[Any]):
    id = UUIDField()
    name = CharField()
    hint = CharField()
    organization = CharField()
    project = CharField()
    expires_at = DateTimeField(allow_null=True)
    models = ListField(child=CharField(), help_text="Names and patterns; * is every model.")
    endpoints = ListField(child=CharField(), help_text="* is every endpoint.")
    quotas = ListField(child=CharField(), help_text="What limits the key; empty: nothing.")
    usage_today = UsageTodaySerializer()


@method_decorator(cache_control(no_store=True), name="dispatch")
class UsageView(APIView):
    """What was used, up to the last request that ended: staff see all, members their organizations'."""

    @extend_schema(parameters=[UsageQuerySerializer], responses=UsageSerializer)
    def get(self, request: Request) -> Response:
        query = UsageQuerySerializer(data=request.query_params)
        query.is_valid(raise_exception=True)
        asked, user, organization = query.validated_data, cast(User, request.user), None
        if "organization" in asked:
            visible = Organization.objects.visible_to(user)
            organization = get_object_or_404(visible, name_or_id(asked["organization"]))
        groups = [Group(name) for name in asked.get("group_by", ())]
        return Response(usage(user=user, organization=organization, since=asked.get("since"), by=groups))


@method_decorator(cache_control(no_store=True), name="dispatch")
class OwnKey(APIView):
    """Who this key is, what it may use and what it has used today."""

    authentication_classes = [BearerKey]
    permission_classes = [HasKey]

    @extend_schema(responses=OwnKeySerializer)
    def get(self, request: Request) -> Response:
        key = cast(APIKey, request.auth)
        organization = key.project.organization
        used = usage(key=key, since=today(organization.time_zone))
        answer = {
            "id": key.id, "name": key.name, "hint": key.hint, "organization": organization.name,
            "project": key.project.name, "expires_at": key.expires_at, "models": key.allowed_models or EVERY,
            "endpoints": key.allowed_endpoints or EVERY, "quotas": [],
            "usage_today": {"since": used["since"], **used["total"]},
        }  # fmt: skip
        return Response(answer)

    def get_exception_handler(self) -> Callable[[Exception, dict[str, Any]], Response | None]:
        return openai_envelope
