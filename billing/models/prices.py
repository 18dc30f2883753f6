"""What models cost, in pico-USD per token or call: versions that are never edited."""

import uuid
from datetime import datetime

from django.conf import settings
from django.db import models, transaction

from accounts.models import User
from billing.prices.pricing import DEFAULT_TIER, PriceSheet, TokenPrice


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
