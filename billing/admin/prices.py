"""Prices in the admin; they are added and never edited."""

# mypy: disable-error-code="type-arg"
# (Django's admin classes are generic in their stubs alone.)

from typing import Any, ClassVar, cast

from django.contrib import admin
from django.contrib.admin.widgets import AdminSplitDateTime
from django.http import HttpRequest

from accounts.models import User
from billing.admin.price_forms import PriceForm, ToolForm, VariantForm
from billing.admin.read_only import figure
from billing.models import Price, PriceVariant, ToolPrice
from billing.prices.pricing import TOKEN_KINDS
from billing.templatetags import figures

PRICES = tuple(
    figure(f"{kind}_pico_usd", f"{kind.replace('_', ' ').capitalize()}, $/M", figures.usd_per_million)
    for kind in TOKEN_KINDS
)


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
