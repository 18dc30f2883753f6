"""The books in the admin: requests open and ended, rollups, the ledger. Only grants and refunds are made there."""

# mypy: disable-error-code="type-arg"
# (Django's admin classes are generic in their stubs alone.)

import uuid
from typing import Any, ClassVar, cast

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from accounts.models import User
from billing.admin.quota_forms import GiftForm
from billing.admin.read_only import ReadOnlyAdmin, figure
from billing.books import ledger
from billing.models import LedgerEntry, UsageRecord
from billing.templatetags import figures

INPUT = figure("input_tokens", "Tokens in", figures.count)
OUTPUT = figure("output_tokens", "Tokens out", figures.count)
COST = figure("cost_nano_usd", "Cost", figures.usd)
CHARGED = figure("charged_nano_usd", "Charged", figures.usd)
FIRST_BYTE = figure("first_byte_ms", "First byte", figures.duration)
LENGTH = figure("latency_ms", "Length", figures.duration)


class ReviewFilter(admin.SimpleListFilter):
    """By what a person should look at (billing/record.py: REVIEW_FLAGS)."""

    title = "review"
    parameter_name = "review"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        return [("needed", "Needs review")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.to_review() if self.value() == "needed" else queryset


class UsageRecordAdmin(ReadOnlyAdmin):
    list_display = (
        "created_at", "organization", "key", "model", "state", "status", INPUT, OUTPUT, COST, LENGTH, "marks",
    )  # fmt: skip
    list_filter = (ReviewFilter, "state", "usage_source", "stream")
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

    @admin.display(description="Flags")
    def marks(self, record: UsageRecord) -> str:
        return ", ".join(record.flags) or figures.NOTHING

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


class UsageRollupAdmin(ReadOnlyAdmin):
    list_display = (
        "hour", "organization", "project", "api_key", "model", figure("requests", "Requests", figures.count), INPUT,
        OUTPUT, COST,
    )  # fmt: skip
    list_select_related = ("organization", "project__organization", "api_key")
    search_fields = ("organization__name", "project__name", "api_key__name", "api_key__hint", "model")
    date_hierarchy = "hour"


class HoldAdmin(ReadOnlyAdmin):
    list_display = (
        "created_at", "organization", "api_key", "model", figure("hold_nano_usd", "May cost", figures.usd),
        figure("hold_tokens", "May use, tokens", figures.count), "is_bound", "process_id",
    )  # fmt: skip
    list_filter = ("is_bound", "stream")
    list_select_related = ("organization", "api_key")
    search_fields = ("=id", "=response_id", "organization__name", "api_key__hint", "model", "=process_id")
    search_help_text = "A request id, a response id, an organization, a key's hint, a model or a process's id."


class ProcessAdmin(ReadOnlyAdmin):
    list_display = ("id", "host_id", "started_at", "heartbeat_at", "stopped_at")
    list_filter = (("stopped_at", admin.EmptyFieldListFilter),)
    search_fields = ("=id", "=host_id")


class AdjustmentAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "record_id", "organization", "model", "usage_source", INPUT, OUTPUT, COST, CHARGED)
    list_filter = ("usage_source",)
    list_select_related = ("organization",)
    search_fields = ("=record_id", "organization__name", "api_key__hint", "model")
    date_hierarchy = "created_at"


class LedgerEntryAdmin(ReadOnlyAdmin):
    """Read only, but for grants and refunds: an entry added here is booked with its other side."""

    form = GiftForm
    list_display = (
        "created_at", "kind", "account", "organization", "hour", figure("amount_nano_usd", "Amount", figures.usd),
        "reason", "by",
    )  # fmt: skip
    list_filter = ("kind", "account")
    list_select_related = ("organization", "actor")
    search_fields = ("organization__name", "=posting_id", "reason")
    date_hierarchy = "created_at"
    autocomplete_fields = ("organization",)
    add_fields = ("organization", "kind", "amount", "reason", "gift_id")

    class Media:
        js = ("js/send-once.js",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return admin.ModelAdmin.has_add_permission(self, request)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return [field.name for field in LedgerEntry._meta.fields] if obj else self.add_fields

    @admin.display(description="By")
    def by(self, entry: LedgerEntry) -> str:
        if entry.kind not in ledger.GIVEN:
            return figures.NOTHING
        return str(entry.actor or "command line")

    def save_model(self, request: HttpRequest, obj: LedgerEntry, form: GiftForm, change: bool) -> None:
        """Books it; sent twice, it is booked once."""
        given = form.cleaned_data
        give = ledger.grant if given["kind"] == LedgerEntry.Kind.GRANT else ledger.refund
        give(given["organization"], given["nano_usd"], given["reason"], cast(User, request.user), given["gift_id"])
        sides: QuerySet[LedgerEntry] = LedgerEntry.objects.filter(posting_id=given["gift_id"])
        obj.pk = sides.get(account=LedgerEntry.Account.ORGANIZATION).pk
        obj.refresh_from_db()
