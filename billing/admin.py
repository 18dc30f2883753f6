"""Prices and the books in the admin. Prices are added and never edited; what was used and booked is only read."""

# mypy: disable-error-code="type-arg"
# (Django's admin classes are generic in their stubs alone.)

import uuid
from collections.abc import Callable
from typing import Any, ClassVar, cast

from django.contrib import admin
from django.contrib.admin.widgets import AdminSplitDateTime
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from accounts.models import User
from billing.forms import PriceForm, ToolForm, VariantForm
from billing.models import LedgerEntry, Price, PriceVariant, ToolPrice, UsageRecord, UsageRollup
from billing.pricing import TOKEN_KINDS
from billing.templatetags import figures


def figure(field: str, label: str, form: Callable[[Any], str]) -> Callable[[Any], str]:
    """A column or field of the admin that shows `field` in the form people read it."""

    @admin.display(description=label, ordering=field)
    def shown(row: Any) -> str:
        return form(getattr(row, field))

    shown.__name__ = f"{field}_figure"
    return shown


PRICES = tuple(
    figure(f"{kind}_pico_usd", f"{kind.replace('_', ' ').capitalize()}, $/M", figures.usd_per_million)
    for kind in TOKEN_KINDS
)
INPUT = figure("input_tokens", "Tokens in", figures.count)
OUTPUT = figure("output_tokens", "Tokens out", figures.count)
COST = figure("cost_nano_usd", "Cost", figures.usd)
CHARGED = figure("charged_nano_usd", "Charged", figures.usd)
FIRST_BYTE = figure("first_byte_ms", "First byte", figures.duration)
LENGTH = figure("latency_ms", "Length", figures.duration)


class PartOfPrice(admin.TabularInline):
    """Entered with its price and never changed after."""

    extra = 0
    entered: ClassVar[tuple[str, ...]]
    shown: ClassVar[tuple[Any, ...]]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.shown if obj else self.entered

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.shown if obj else ()

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return obj is None

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class VariantInline(PartOfPrice):
    model = PriceVariant
    form = VariantForm
    verbose_name = "tier or long context"
    verbose_name_plural = "other service tiers, and long contexts"
    entered = ("service_tier", "above_input_tokens", *TOKEN_KINDS)
    shown = ("service_tier", "above_input_tokens", *PRICES)


class ToolInline(PartOfPrice):
    model = ToolPrice
    form = ToolForm
    verbose_name = "tool"
    verbose_name_plural = "tools that the upstream runs"
    entered = ("tool", "usd")
    shown = ("tool", figure("pico_usd", "$ per 1,000 calls", figures.usd_per_thousand))


@admin.register(Price)
class PriceAdmin(admin.ModelAdmin):
    form = PriceForm
    inlines = (VariantInline, ToolInline)
    list_display = ("model", "effective_from", *PRICES, "created_by")
    list_select_related = ("created_by",)
    search_fields = ("model",)
    ordering = ("model", "-effective_from")
    change_form_template = "admin/billing/price/change_form.html"

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: what a request cost must stay explained. A new price follows the old one."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        shown = ("model", "effective_from", *PRICES, "created_by", "created_at", "id")
        return shown if obj else ("model", "effective_from", *TOKEN_KINDS, "confirm")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.get_fields(request, obj) if obj else ()

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        if "effective_from" in form.base_fields:
            form.base_fields["effective_from"].widget = AdminSplitDateTime()
        return form

    def save_model(self, request: HttpRequest, obj: Price, form: Any, change: bool) -> None:
        obj.created_by = cast(User, request.user)
        super().save_model(request, obj, form, change)


class ReadOnlyAdmin(admin.ModelAdmin):
    """For rows that only the database functions write."""

    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(UsageRecord)
class UsageRecordAdmin(ReadOnlyAdmin):
    list_display = (
        "created_at", "organization", "key", "model", "state", "status", INPUT, OUTPUT, COST, LENGTH,
    )  # fmt: skip
    list_filter = ("state", "usage_source", "stream")
    list_select_related = ("organization", "api_key")
    search_fields = ("=response_id", "api_key__hint", "model")
    search_help_text = "A request id, a response id, a key's hint or a model."
    fieldsets: ClassVar[Any] = (
        (None, {"fields": ("id", "state", "status", "usage_source", "flags", "created_at", "ended_at")}),
        ("Who asked", {"fields": ("organization", "project", "api_key", "client_request_id")}),
        ("What was asked, and where it went", {"fields": (
            "endpoint", "model", "stream", "asked_service_tier", "upstream", "upstream_model", "served_model",
            "service_tier", "response_id", "upstream_request_id", FIRST_BYTE, LENGTH,
        )}),
        ("What was used", {"fields": (
            INPUT, figure("cached_tokens", "of them cached", figures.count),
            figure("cache_write_tokens", "of them written to the cache", figures.count), OUTPUT,
            figure("reasoning_tokens", "of them reasoning", figures.count), "tool_calls", "reported_usage",
        )}),
        ("The bill", {"fields": (
            "bill", COST, CHARGED, figure("overage_nano_usd", "Overage", figures.usd),
            figure("hold_nano_usd", "Held before", figures.usd), "price",
        )}),
    )  # fmt: skip
    readonly_fields = tuple(name for _, fieldset in fieldsets for name in fieldset["fields"])

    @admin.display(description="Key", ordering="api_key__name")
    def key(self, record: UsageRecord) -> str:
        return record.api_key.name

    @admin.display(description="Quantity x price = amount")
    def bill(self, record: UsageRecord) -> SafeString | str:
        lines = ((figures.bill_line(line),) for line in record.lines)
        return format_html_join("", "<div>{}</div>", lines) or figures.NOTHING

    @admin.display(description="Price")
    def price(self, record: UsageRecord) -> SafeString | str:
        if record.price_id is None:
            return figures.NOTHING
        return format_html(
            '<a href="{}">{}</a>', reverse("admin:billing_price_change", args=[record.price_id]), record.price_id
        )

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        """A request id goes straight to its row and partition; anything else is searched for."""
        try:
            return queryset.filter(pk=uuid.UUID(search_term.strip())), False
        except ValueError:
            return super().get_search_results(request, queryset, search_term)


@admin.register(UsageRollup)
class UsageRollupAdmin(ReadOnlyAdmin):
    list_display = (
        "hour", "organization", "project", "api_key", "model", figure("requests", "Requests", figures.count), INPUT,
        OUTPUT, COST,
    )  # fmt: skip
    list_select_related = ("organization", "project__organization", "api_key")
    search_fields = ("organization__name", "project__name", "api_key__name", "api_key__hint", "model")
    date_hierarchy = "hour"


@admin.register(LedgerEntry)
class LedgerEntryAdmin(ReadOnlyAdmin):
    list_display = (
        "created_at", "kind", "account", "organization", "hour", figure("amount_nano_usd", "Amount", figures.usd),
    )  # fmt: skip
    list_filter = ("kind", "account")
    list_select_related = ("organization",)
    search_fields = ("organization__name", "=posting_id")
    date_hierarchy = "hour"
