"""How much: prices, one usage record per admitted request, and the books made from them.

Money is integer nano-USD, prices integer pico-USD per token or call (billing/pricing.py).
"""

import uuid
from datetime import datetime
from typing import Self

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models, transaction
from django.db.models.functions import Now

from accounts.models import APIKey, Organization, Project, User
from billing.pricing import DEFAULT_TIER, PriceSheet, TokenPrice


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


class UsageRecordQuerySet(models.QuerySet["UsageRecord"]):
    def visible_to(self, user: User) -> Self:
        return self if user.is_staff else self.filter(organization__memberships__user=user)

    def since(self, moment: datetime) -> Self:
        """Records admitted from that time on."""
        return self.filter(created_at__gte=moment)

    def unposted(self) -> Self:
        """Ended and not yet in the rollups."""
        return self.exclude(state=UsageRecord.State.PENDING).filter(posted_at=None)


class UsageRecord(models.Model):
    """One admitted request, whatever became of it. Written by billing/metering.py alone.

    Its table is partitioned by month of the id (a UUIDv7, the request's own id), so no constraint but the primary key
    holds over all of it and no foreign key points to it.
    """

    class State(models.TextChoices):
        PENDING = "pending"
        SETTLED = "settled"
        VOID = "void"

    class Source(models.TextChoices):
        REPORTED = "reported"
        DRAINED = "drained"
        ESTIMATED = "estimated"
        RECOVERED = "recovered"
        NONE = "none"

    id = models.UUIDField(primary_key=True)
    state = models.CharField(max_length=8, choices=State, default=State.PENDING)
    usage_source = models.CharField(max_length=9, choices=Source, default=Source.NONE)

    organization = models.ForeignKey(Organization, models.DO_NOTHING, db_constraint=False, db_index=False)
    project = models.ForeignKey(Project, models.DO_NOTHING, db_constraint=False, db_index=False)
    api_key = models.ForeignKey(APIKey, models.DO_NOTHING, db_constraint=False, db_index=False)
    process_id = models.UUIDField(help_text="The gateway process that answers for it while it is pending.")

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

    status = models.PositiveSmallIntegerField(null=True, help_text="Of our answer; empty when the client left before.")
    response_id = models.CharField(max_length=512, blank=True)
    served_model = models.CharField(max_length=200, blank=True)
    service_tier = models.CharField(max_length=32, blank=True, help_text="As served.")
    upstream_request_id = models.CharField(max_length=128, blank=True)

    input_tokens = models.BigIntegerField(default=0)
    cached_tokens = models.BigIntegerField(default=0)
    cache_write_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    reasoning_tokens = models.BigIntegerField(default=0)
    tool_calls = models.JSONField(default=dict)
    reported_usage = models.JSONField(null=True, help_text="As the upstream sent it.")

    hold_nano_usd = models.BigIntegerField()
    cost_nano_usd = models.BigIntegerField(default=0)
    charged_nano_usd = models.BigIntegerField(default=0)
    overage_nano_usd = models.BigIntegerField(default=0)
    lines = models.JSONField(default=list)
    flags = ArrayField(models.CharField(max_length=32), default=list)

    created_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    posted_at = models.DateTimeField(null=True)
    first_byte_ms = models.IntegerField(null=True)
    latency_ms = models.IntegerField(null=True)

    objects = UsageRecordQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]

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

    class Kind(models.TextChoices):
        CHARGE = "charge"

    posting_id = models.UUIDField(db_index=True)
    kind = models.CharField(max_length=16, choices=Kind)
    account = models.CharField(max_length=16, choices=Account)
    organization = models.ForeignKey(Organization, models.PROTECT)
    hour = models.DateTimeField(help_text="The bucket whose records it sums up.")
    amount_nano_usd = models.BigIntegerField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name_plural = "ledger entries"
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.kind} {self.amount_nano_usd} nano-USD on {self.account}"
