"""Sums of records: by the hour, and by model for estimates."""

from datetime import datetime
from typing import Self

from django.db import models

from accounts.models import APIKey, Organization, Project, User


class ModelRatio(models.Model):
    """What a model's streams reported lately, in sum (billing/books/ratios.py): for estimates where nothing was."""

    model = models.CharField(max_length=200, primary_key=True)
    request_bytes = models.BigIntegerField()
    input_tokens = models.BigIntegerField()
    delta_events = models.BigIntegerField()
    output_tokens = models.BigIntegerField()
    measured_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.model


class UsageRollupQuerySet(models.QuerySet["UsageRollup"]):
    def visible_to(self, user: User) -> Self:
        return self if user.is_staff else self.filter(organization__memberships__user=user)

    def since(self, moment: datetime) -> Self:
        """Whole hours that began at or after that time."""
        return self.filter(hour__gte=moment)


class UsageRollup(models.Model):
    """The sum of an hour's posted records, by who asked for which model where. Written by the posting alone."""

    hour = models.DateTimeField()
    organization = models.ForeignKey(Organization, models.PROTECT, db_index=False)
    project = models.ForeignKey(Project, models.PROTECT, db_index=False)
    api_key = models.ForeignKey(APIKey, models.PROTECT, db_index=False)
    model = models.CharField(max_length=200)
    upstream_id = models.UUIDField()
    requests = models.BigIntegerField(default=0, help_text="Settled.")
    voided = models.BigIntegerField(default=0, help_text="Admitted, failed and not charged.")
    input_tokens = models.BigIntegerField(default=0)
    cached_tokens = models.BigIntegerField(default=0)
    cache_write_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    reasoning_tokens = models.BigIntegerField(default=0)
    cost_nano_usd = models.BigIntegerField(default=0)
    charged_nano_usd = models.BigIntegerField(default=0)
    overage_nano_usd = models.BigIntegerField(default=0)

    objects = UsageRollupQuerySet.as_manager()

    class Meta:
        ordering = ["-hour"]
        constraints = [
            models.UniqueConstraint(
                fields=["hour", "organization", "project", "api_key", "model", "upstream_id"],
                name="one_rollup_a_bucket",
            )
        ]
        indexes = [models.Index(fields=["organization", "hour"], name="rollup_by_organization")]

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H}h {self.model}"
