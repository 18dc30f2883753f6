"""Quotas in the admin: set, changed and retired through billing/books/quotas.py, never saved as rows."""

# mypy: disable-error-code="type-arg"
# (Django's admin classes are generic in their stubs alone.)

from typing import Any, ClassVar, cast

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.models import User
from billing.admin.quota_forms import QuotaForm
from billing.admin.read_only import ReadOnlyAdmin
from billing.books import quotas
from billing.models import Quota, QuotaQuerySet
from billing.prices.pricing import figure as written
from billing.templatetags import figures


def amount(field: str, label: str, order: str | None = None) -> Any:
    """A column with an amount of the row's metric."""

    @admin.display(description=label, ordering=order or field)
    def shown(row: Any) -> str:
        value = getattr(row, field)
        return figures.NOTHING if value is None else written(row.metric, value)

    shown.__name__ = f"{field}_written"
    return shown


LIMIT = amount("limit_amount", "Limit")
USE = (amount("posted", "Used"), amount("held", "Held by open requests"))


class QuotaAdmin(admin.ModelAdmin):
    form = QuotaForm
    list_display = ("on", "level", "metric", "period", "kind", LIMIT, *USE, amount("left", "Left"), "renews", "state")
    list_filter = (
        "level", "metric", "period", "is_hard", "is_credit", ("retired_at", admin.EmptyFieldListFilter),
        ("organization", admin.RelatedOnlyFieldListFilter),
    )  # fmt: skip
    list_select_related = ("organization", "project__organization", "api_key")
    search_fields = ("organization__name", "project__name", "api_key__name", "api_key__hint", "=id")
    search_help_text = "Organization, project, or a key's name or hint."
    autocomplete_fields = ("organization", "project", "api_key")
    actions = ("retire_quotas", "make_postpaid")
    add_fields: ClassVar[Any] = ("organization", "project", "api_key", "metric", "period", "limit", "is_hard")
    told: ClassVar[Any] = (
        "on", "level", "metric", "period", "kind", *USE, amount("left", "Left"), "renews", "state", "id", "created_at",
        "created_by",
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Quota]:
        return cast(QuotaQuerySet, super().get_queryset(request)).standing()

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return self.add_fields
        limit = "limit" if self.has_change_permission(request, obj) else LIMIT
        return (*self.told[:5], limit, *self.told[5:])

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return (*self.told, LIMIT) if obj else ()

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """None of the three has to be chosen, but one (QuotaForm)."""
        return super().formfield_for_foreignkey(db_field, request, required=False, **kwargs)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Credit is changed by grants and refunds alone, what is retired not at all."""
        is_fixed = obj is not None and (obj.is_credit or obj.retired_at is not None)
        return super().has_change_permission(request, obj) and not is_fixed

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: records tell what they were held against. A quota that is no longer wanted is retired."""
        return False

    def save_model(self, request: HttpRequest, obj: Quota, form: QuotaForm, change: bool) -> None:
        limit = form.cleaned_data["amount"]
        if change:
            if not quotas.change_limit(obj, limit):
                self.message_user(request, f"Nothing changed: {obj} was retired meanwhile.", messages.ERROR)
            return
        made = quotas.set_quota(
            form.cleaned_data["scope"], obj.metric, obj.period, limit, is_hard=obj.is_hard,
            actor=cast(User, request.user),
        )  # fmt: skip
        obj.pk = made.pk
        obj.refresh_from_db()

    @admin.action(description="Retire: count and refuse nothing any more", permissions=["change"])
    def retire_quotas(self, request: HttpRequest, queryset: QuotaQuerySet) -> None:
        retired = [quota for quota in queryset if quotas.retire(quota)]
        for quota in retired:
            self.log_change(request, quota, "Retired.")
        if retired:
            self.message_user(request, f"Retired: {', '.join(map(str, retired))}.", messages.SUCCESS)
        else:
            self.message_user(request, "Nothing to retire: retired before, or prepaid credit.", messages.WARNING)

    @admin.action(description="End prepaid credit: the organization is postpaid again", permissions=["change"])
    def make_postpaid(self, request: HttpRequest, queryset: QuotaQuerySet) -> None:
        credits_chosen = [quota for quota in queryset if quota.is_credit and quota.retired_at is None]
        ended = [quota for quota in credits_chosen if quotas.end_credit(quota.organization) is not None]
        for quota in ended:
            self.log_change(request, quota, "Ended: postpaid again.")
        if ended:
            self.message_user(request, f"Postpaid again: {', '.join(str(q.scope) for q in ended)}.", messages.SUCCESS)
        else:
            self.message_user(request, "Nothing to end: no prepaid credit in force was chosen.", messages.WARNING)

    @admin.display(description="On", ordering="scope_id")
    def on(self, quota: Quota) -> str:
        return str(quota.scope)

    @admin.display(description="Kind", ordering="is_hard")
    def kind(self, quota: Quota) -> str:
        return "prepaid credit" if quota.is_credit else "hard" if quota.is_hard else "soft"

    @admin.display(description="Renews")
    def renews(self, quota: Any) -> str:
        return f"{quota.renews_at:%Y-%m-%d %H:%M}" if quota.renews_at else "never"

    @admin.display(description="State", ordering="retired_at")
    def state(self, quota: Any) -> SafeString:
        if quota.retired_at:
            return format_html('<span class="bad">Retired {}</span>', f"{quota.retired_at:%Y-%m-%d}")
        look, text = ("good", "In force") if quota.left else ("warn", "Used up")
        return format_html('<span class="{}">{}</span>', look, text)


class QuotaWindowAdmin(ReadOnlyAdmin):
    list_display = ("quota", "starts_at", "ends_at", LIMIT, amount("ceiling", "Ceiling"), *USE)
    list_filter = ("metric", "is_hard")
    list_select_related = ("quota__organization", "quota__project__organization", "quota__api_key")
    search_fields = ("quota__organization__name", "quota__project__name", "quota__api_key__name", "=quota__id")
