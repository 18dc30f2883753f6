"""One row per admitted request: open, or ended; and what the truth changed later. Tables and functions: billing/sql."""

from datetime import datetime
from typing import Any, Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Cast

from accounts.models import APIKey, Organization, Project, User
from billing.record import REVIEW_FLAGS


class Admitted(models.Model):
    """Who asked for what, and what was held for it: what an open request and its record have in common."""

    id = models.UUIDField(primary_key=True)
    organization = models.ForeignKey(Organization, models.DO_NOTHING, db_constraint=False, db_index=False)
    project = models.ForeignKey(Project, models.DO_NOTHING, db_constraint=False, db_index=False)
    api_key = models.ForeignKey(APIKey, models.DO_NOTHING, db_constraint=False, db_index=False)
    process_id = models.UUIDField(help_text="The gateway process that answers for it while it is open.")

    endpoint = models.CharField(max_length=64)
    model = models.CharField(max_length=200, help_text="As asked for.")
    upstream_id = models.UUIDField()
    upstream = models.CharField(max_length=200)
    upstream_model = models.CharField(max_length=200)
    price_id = models.UUIDField(null=True)
    stream = models.BooleanField()
    asked_service_tier = models.CharField(max_length=32, blank=True)
    client_request_id = models.CharField(max_length=128, blank=True)
    retry_count = models.PositiveSmallIntegerField(default=0)
    request_bytes = models.BigIntegerField()
    response_id = models.CharField(max_length=512, blank=True)

    hold_nano_usd = models.BigIntegerField(help_text="The most it may cost.")
    hold_tokens = models.BigIntegerField(help_text="The most it may use.")
    is_bound = models.BooleanField(help_text="Held against a hard cost quota: never charged more than the hold.")
    window_ids = ArrayField(models.BigIntegerField(), help_text="The windows of all quotas that it counts on.")
    held_as = ArrayField(models.CharField(max_length=16), help_text="Of what kind each of these is.")
    held_amounts = ArrayField(models.BigIntegerField(), help_text="What it held of each.")
    flags = ArrayField(models.CharField(max_length=32), default=list)
    created_at = models.DateTimeField()

    class Meta:
        abstract = True
        ordering = ["-id"]

    def __str__(self) -> str:
        return str(self.id)


class RecordQuerySet(models.QuerySet[Any]):
    def visible_to(self, user: User) -> Self:
        return self if user.is_staff else self.filter(organization__memberships__user=user)

    def since(self, moment: datetime) -> Self:
        """Admitted from that time on."""
        return self.filter(created_at__gte=moment)


class Hold(Admitted):
    """An open request: admitted, and not ended yet. Written by billing/metering/meter.py alone."""

    state = "pending"
    status = first_byte_ms = latency_ms = None  # as a record has them

    progress = models.JSONField(null=True)

    objects = RecordQuerySet.as_manager()

    class Meta(Admitted.Meta):
        verbose_name = "open request"


class UsageRecordQuerySet(RecordQuerySet):
    def to_review(self) -> Self:
        """Whose usage or cost is not what an upstream reported and a price list priced: for staff to look at."""
        texts = Cast("flags", ArrayField(models.TextField()))  # as the column is: the lookup would compare varchar
        return self.alias(texts=texts).filter(texts__overlap=sorted(REVIEW_FLAGS))

    def unposted(self) -> Self:
        """Not yet in the rollups."""
        return self.filter(id__in=Unposted.objects.filter(is_adjustment=False).values("record_id"))


class UsageRecord(Admitted):
    """How an admitted request ended, whatever became of it. Never changed; written by billing/metering/meter.py alone.

    Its table is partitioned by month of the id (a UUIDv7, the request's own id), so no constraint but the primary key
    holds over all of it and no foreign key points to it.
    """

    class State(models.TextChoices):
        SETTLED = "settled"
        VOID = "void"

    class Source(models.TextChoices):
        REPORTED = "reported"
        DRAINED = "drained"
        ESTIMATED = "estimated"
        RECOVERED = "recovered"
        NONE = "none"

    state = models.CharField(max_length=8, choices=State)
    usage_source = models.CharField(max_length=9, choices=Source)
    status = models.PositiveSmallIntegerField(null=True, help_text="Of our answer; empty when the client left before.")
    served_model = models.CharField(max_length=200, blank=True)
    service_tier = models.CharField(max_length=32, blank=True, help_text="As served.")
    upstream_request_id = models.CharField(max_length=128, blank=True)

    input_tokens = models.BigIntegerField(default=0)
    cached_tokens = models.BigIntegerField(default=0)
    cache_write_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    reasoning_tokens = models.BigIntegerField(default=0)
    delta_events = models.BigIntegerField(default=0, help_text="Of a stream, as far as it was seen.")
    tool_calls = models.JSONField(default=dict)
    reported_usage = models.JSONField(null=True, help_text="As the upstream sent it.")

    cost_nano_usd = models.BigIntegerField(default=0)
    charged_nano_usd = models.BigIntegerField(default=0)
    overage_nano_usd = models.BigIntegerField(default=0)
    lines = models.JSONField(default=list)

    ended_at = models.DateTimeField()
    first_byte_ms = models.IntegerField(null=True)
    latency_ms = models.IntegerField(null=True)

    objects = UsageRecordQuerySet.as_manager()


class AdjustmentQuerySet(RecordQuerySet):
    def unposted(self) -> Self:
        """Not yet in the rollups."""
        return self.filter(record_id__in=Unposted.objects.filter(is_adjustment=True).values("record_id"))


class Adjustment(models.Model):
    """What the truth about a record's usage changed after it had ended by an estimate. At most one a record.

    Tokens and money are differences to the record, counted in the hour when the truth came.
    """

    record_id = models.UUIDField(primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT)
    project = models.ForeignKey(Project, models.PROTECT)
    api_key = models.ForeignKey(APIKey, models.PROTECT)
    model = models.CharField(max_length=200)
    upstream_id = models.UUIDField()
    usage_source = models.CharField(max_length=9)
    response_id = models.CharField(max_length=512, blank=True)
    served_model = models.CharField(max_length=200, blank=True)
    service_tier = models.CharField(max_length=32, blank=True)
    requests = models.IntegerField(help_text="1 where a void record turned out to be used.")
    input_tokens = models.BigIntegerField()
    cached_tokens = models.BigIntegerField()
    cache_write_tokens = models.BigIntegerField()
    output_tokens = models.BigIntegerField()
    reasoning_tokens = models.BigIntegerField()
    tool_calls = models.JSONField()
    reported_usage = models.JSONField(null=True)
    cost_nano_usd = models.BigIntegerField()
    charged_nano_usd = models.BigIntegerField()
    overage_nano_usd = models.BigIntegerField()
    window_ids = ArrayField(models.BigIntegerField())
    posted_amounts = ArrayField(models.BigIntegerField(), help_text="What it changed on each window.")
    lines = models.JSONField(help_text="The whole bill, as it would have been.")
    flags = ArrayField(models.CharField(max_length=32), default=list)
    created_at = models.DateTimeField()

    objects = AdjustmentQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(cost_nano_usd=models.F("charged_nano_usd") + models.F("overage_nano_usd")),
                name="adjustment_is_charged_or_overage",
            )
        ]

    def __str__(self) -> str:
        return f"Adjustment of {self.record_id}"


class Unposted(models.Model):
    """A record or adjustment that is not in the rollups and the ledger yet."""

    pk = models.CompositePrimaryKey("record_id", "is_adjustment")
    record_id = models.UUIDField()
    is_adjustment = models.BooleanField(default=False)

    def __str__(self) -> str:
        return str(self.record_id)
