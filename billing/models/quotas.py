"""Quotas and their windows."""

import uuid
from typing import Self

from django.conf import settings
from django.db import models
from django.db.models import Case, Value, When
from django.db.models.functions import Coalesce, Concat, Greatest, Now

from accounts.models import APIKey, Organization, Project


class QuotaQuerySet(models.QuerySet["Quota"]):
    def in_force(self) -> Self:
        return self.filter(retired_at=None)

    def standing(self) -> Self:
        """With `posted`, `held`, `left` and `renews_at` (None: never) of the window that is open now.

        Where the last one is over, of the one that would open now: nothing is posted or held there.
        """
        window = QuotaWindow.objects.filter(pk=models.OuterRef("window_id"), ends_at__gt=Now())
        next_end = models.Func(
            "period", "organization__time_zone", Now(), function="billing_window_at",
            template="(%(function)s(%(expressions)s)).ends_at", output_field=models.DateTimeField(),
        )  # fmt: skip
        nothing = Value(0, output_field=models.BigIntegerField())
        return self.annotate(
            posted=Coalesce(models.Subquery(window.values("posted")), nothing),
            held=Coalesce(models.Subquery(window.values("held")), nothing),
            renews_at=Case(
                When(period=Quota.Period.FOREVER, then=Value(None)),
                When(window_ends_at__gt=Now(), then="window_ends_at"),
                default=next_end,
                output_field=models.DateTimeField(null=True),
            ),
        ).annotate(left=Greatest(nothing, models.F("limit_amount") - models.F("posted") - models.F("held")))

    def named(self) -> Self:
        """With `name`: what people call what it is on."""
        name = models.Func("level", "scope_id", function="billing_scope_name", output_field=models.TextField())
        return self.annotate(name=name)


class Quota(models.Model):
    """A bound on what an organization, a project or a key may use in each window; hard ones are enforced (money.md).

    Its row points to the current window. One is live for each scope, metric and period.
    """

    class Metric(models.TextChoices):
        COST = "cost", "cost (USD)"
        TOKENS = "tokens"
        REQUESTS = "requests"

    class Period(models.TextChoices):
        DAY = "day"
        MONTH = "month"
        FOREVER = "forever", "for ever"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="quotas", db_index=False)
    project = models.ForeignKey(Project, models.PROTECT, null=True, blank=True, related_name="quotas")
    api_key = models.ForeignKey(APIKey, models.PROTECT, null=True, blank=True, related_name="quotas")
    scope_id = models.GeneratedField(
        expression=Coalesce("api_key_id", "project_id", "organization_id"),
        output_field=models.UUIDField(),
        db_persist=True,
    )
    level = models.GeneratedField(
        expression=Case(
            When(api_key_id__isnull=False, then=Value("key")),
            When(project_id__isnull=False, then=Value("project")),
            default=Value("organization"),
        ),
        output_field=models.CharField(max_length=12),
        db_persist=True,
    )
    metric = models.CharField(max_length=8, choices=Metric)
    period = models.CharField(max_length=8, choices=Period)
    limit_amount = models.BigIntegerField(help_text="Nano-USD, tokens or requests.")
    is_hard = models.BooleanField(default=True, help_text="Refuse what would exceed it; a soft one only counts.")
    is_credit = models.BooleanField(default=False, editable=False, help_text="Prepaid: the limit is what was granted.")
    held_as = models.GeneratedField(
        expression=Concat(
            Case(When(is_hard=True, then=Value("hard ")), default=Value("soft ")),
            "metric",
        ),
        output_field=models.CharField(max_length=16),
        db_persist=True,
    )
    window_id = models.BigIntegerField(null=True, editable=False)
    window_ends_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, editable=False, on_delete=models.SET_NULL
    )
    retired_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = QuotaQuerySet.as_manager()

    class Meta:
        ordering = ["created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["scope_id", "metric", "period"],
                condition=models.Q(retired_at=None, is_credit=False),
                name="one_quota_of_a_kind",
            ),
            models.UniqueConstraint(
                fields=["scope_id"],
                condition=models.Q(retired_at=None, is_credit=True),
                name="one_credit_of_an_organization",
            ),
            models.CheckConstraint(condition=models.Q(limit_amount__gte=0), name="limit_is_not_negative"),
        ]
        indexes = [
            models.Index(fields=["scope_id"], condition=models.Q(retired_at=None), name="quota_in_force"),
            # What counts for one request lies together here: one descent instead of three (from PostgreSQL 17 on).
            models.Index(
                fields=["organization", "scope_id"],
                condition=models.Q(retired_at=None),
                name="quota_in_force_of_organization",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.metric} {self.period} on {self.scope}"

    @property
    def scope(self) -> Organization | Project | APIKey:
        """What it is on."""
        return self.api_key or self.project or self.organization


class QuotaWindow(models.Model):
    """What was used of a quota from `starts_at` to `ends_at`: posted, and held by open requests (sql/metering.sql)."""

    # Without a constraint: its trigger would look at each change of what is posted and held.
    quota = models.ForeignKey(Quota, models.PROTECT, related_name="windows", db_constraint=False)
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    metric = models.CharField(max_length=8)
    is_hard = models.BooleanField()
    limit_amount = models.BigIntegerField()
    ceiling = models.BigIntegerField(null=True, help_text="Hard: the limit, or what was used when it was lowered.")
    posted = models.BigIntegerField(default=0)
    held = models.BigIntegerField(default=0)

    class Meta:
        ordering = ["-starts_at"]
        constraints = [
            models.UniqueConstraint(fields=["quota", "starts_at"], name="one_window_at_a_time"),
            models.CheckConstraint(condition=models.Q(posted__gte=0, held__gte=0), name="nothing_is_below_zero"),
            models.CheckConstraint(
                condition=models.Q(is_hard=False) | models.Q(ceiling__gte=models.F("posted") + models.F("held")),
                name="hard_window_is_within_its_ceiling",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.quota} from {self.starts_at:%Y-%m-%d %H:%M}"
