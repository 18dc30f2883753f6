"""How much: prices, one usage record per admitted request, and the books made from them.

Money is integer nano-USD, prices integer pico-USD per token or call (billing/pricing.py).
"""

import uuid
from datetime import datetime
from typing import Any, Self

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models, transaction
from django.db.models import Case, Value, When
from django.db.models.functions import Cast, Coalesce, Concat, Greatest, Now

from accounts.models import APIKey, Organization, Project, User
from billing.pricing import DEFAULT_TIER, PriceSheet, TokenPrice
from billing.record import REVIEW_FLAGS


class TokenPrices(models.Model):
    """Pico-USD per token of each kind."""

    input_pico_usd = models.PositiveBigIntegerField()
    cached_input_pico_usd = models.PositiveBigIntegerField()
    cache_write_pico_usd = models.PositiveBigIntegerField()
    output_pico_usd = models.PositiveBigIntegerField()
    reasoning_pico_usd = models.PositiveBigIntegerField(null=True, blank=True, help_text="Empty: as output.")

    class Meta:
        abstract = True

    @property
    def per_token(self) -> TokenPrice:
        return TokenPrice(
            self.input_pico_usd,
            self.cached_input_pico_usd,
            self.cache_write_pico_usd,
            self.output_pico_usd,
            self.reasoning_pico_usd,
        )


class PriceQuerySet(models.QuerySet["Price"]):
    def before(self, model: str, moment: datetime) -> "Price | None":
        """The price that exactly this name or pattern has until then."""
        return self.filter(model=model, effective_from__lt=moment).order_by("-effective_from").first()

    @transaction.atomic
    def enter(
        self, model: str, effective_from: datetime, sheet: PriceSheet, *, created_by: User | None = None
    ) -> "Price":
        """A new price with all that is in `sheet`. ValidationError where the model has one from that moment."""
        price = Price(
            model=model, effective_from=effective_from, created_by=created_by, **token_price_columns(sheet.base)
        )
        price.full_clean()
        price.save()
        PriceVariant.objects.bulk_create(
            PriceVariant(
                price=price,
                service_tier=tier,
                above_input_tokens=bracket.above_input_tokens,
                **token_price_columns(bracket.price),
            )
            for tier, brackets in sheet.tiers.items()
            for bracket in brackets
        )
        ToolPrice.objects.bulk_create(
            ToolPrice(price=price, tool=tool, pico_usd=pico) for tool, pico in sheet.tools.items()
        )
        return price


class Price(TokenPrices):
    """What a model costs from a time on: its own columns in the default tier, beside them variants and tools.

    A price is never edited: a new one follows.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    model = models.CharField(max_length=200, help_text="A model's name, or a pattern such as gpt-*.")
    effective_from = models.DateTimeField()
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, editable=False, on_delete=models.SET_NULL
    )

    objects = PriceQuerySet.as_manager()

    class Meta:
        ordering = ["model", "-effective_from"]
        constraints = [
            models.UniqueConstraint(fields=["model", "effective_from"], name="one_price_of_a_model_at_a_time")
        ]

    def __str__(self) -> str:
        return f"{self.model} from {self.effective_from:%Y-%m-%d %H:%M}"

    @property
    def sheet(self) -> PriceSheet:
        return PriceSheet.of(
            self.per_token,
            [(variant.service_tier, variant.above_input_tokens, variant.per_token) for variant in self.variants.all()],
            {tool.tool: tool.pico_usd for tool in self.tools.all()},
        )


class PriceVariant(TokenPrices):
    """What a price is in another service tier, or in requests with more than so many input tokens."""

    price = models.ForeignKey(Price, models.CASCADE, related_name="variants")
    service_tier = models.CharField(max_length=32, default=DEFAULT_TIER, help_text="As served: flex, priority, ...")
    above_input_tokens = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ["service_tier", "above_input_tokens"]
        constraints = [
            models.UniqueConstraint(
                fields=["price", "service_tier", "above_input_tokens"], name="one_variant_of_a_price"
            )
        ]

    def __str__(self) -> str:
        above = f" above {self.above_input_tokens:,} input tokens" if self.above_input_tokens else ""
        return f"{self.service_tier}{above}"


class ToolPrice(models.Model):
    """What a call of a tool costs that the upstream runs, beside its tokens."""

    price = models.ForeignKey(Price, models.CASCADE, related_name="tools")
    tool = models.CharField(max_length=64, help_text="web_search, file_search, container, ...")
    pico_usd = models.PositiveBigIntegerField(help_text="A call.")

    class Meta:
        ordering = ["tool"]
        constraints = [models.UniqueConstraint(fields=["price", "tool"], name="one_price_of_a_tool")]

    def __str__(self) -> str:
        return self.tool


def token_price_columns(price: TokenPrice) -> dict[str, int | None]:
    return {
        "input_pico_usd": price.input,
        "cached_input_pico_usd": price.cached_input,
        "cache_write_pico_usd": price.cache_write,
        "output_pico_usd": price.output,
        "reasoning_pico_usd": price.reasoning,
    }


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
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="quotas")
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
        indexes = [models.Index(fields=["scope_id"], condition=models.Q(retired_at=None), name="quota_in_force")]

    def __str__(self) -> str:
        return f"{self.metric} {self.period} on {self.scope}"

    @property
    def scope(self) -> Organization | Project | APIKey:
        """What it is on."""
        return self.api_key or self.project or self.organization


class QuotaWindow(models.Model):
    """What was used of a quota from `starts_at` to `ends_at`: posted, and held by open requests (metering.sql)."""

    quota = models.ForeignKey(Quota, models.PROTECT, related_name="windows")
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
    """An open request: admitted, and not ended yet. Written by billing/metering.py alone."""

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
    """How an admitted request ended, whatever became of it. Never changed; written by billing/metering.py alone.

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


class ModelRatio(models.Model):
    """What a model's streams reported lately, in sum: for estimates where nothing was reported (billing/ratios.py)."""

    model = models.CharField(max_length=200, primary_key=True)
    request_bytes = models.BigIntegerField()
    input_tokens = models.BigIntegerField()
    delta_events = models.BigIntegerField()
    output_tokens = models.BigIntegerField()
    measured_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.model


class Process(models.Model):
    """A gateway process, alive as long as its heartbeat is young."""

    id = models.UUIDField(primary_key=True)
    host_id = models.UUIDField(help_text="The host, by the id kept in its SPOOL_DIR.")
    started_at = models.DateTimeField(db_default=Now())
    heartbeat_at = models.DateTimeField(db_default=Now())
    stopped_at = models.DateTimeField(null=True, help_text="When nothing of it was left open.")
    looked_at = models.DateTimeField(null=True, help_text="When the reaper last looked,")
    seen_heartbeat_at = models.DateTimeField(null=True, help_text="which heartbeat it saw,")
    silent_seconds = models.FloatField(default=0, db_default=0, help_text="and for how long it has been that one.")

    class Meta:
        verbose_name_plural = "processes"
        ordering = ["-started_at"]

    def __str__(self) -> str:
        return str(self.id)


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


class LedgerEntry(models.Model):
    """One side of a posting. The entries of a posting sum to zero; none is ever changed or deleted (triggers)."""

    class Account(models.TextChoices):
        ORGANIZATION = "organization", "what an organization has"
        REVENUE = "revenue", "what was earned"
        FUNDS = "funds", "what was paid in"

    class Kind(models.TextChoices):
        GRANT = "grant"
        CHARGE = "charge"
        ADJUSTMENT = "adjustment"
        REFUND = "refund"

    posting_id = models.UUIDField()
    kind = models.CharField(max_length=16, choices=Kind)
    account = models.CharField(max_length=16, choices=Account)
    organization = models.ForeignKey(Organization, models.PROTECT)
    hour = models.DateTimeField(null=True, help_text="Charges, adjustments: the bucket whose records it sums up.")
    amount_nano_usd = models.BigIntegerField()
    reason = models.TextField(blank=True)
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name_plural = "ledger entries"
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["posting_id", "account"], name="one_side_of_an_account")]

    def __str__(self) -> str:
        return f"{self.kind} {self.amount_nano_usd} nano-USD on {self.account}"
