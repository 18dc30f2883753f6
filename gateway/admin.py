"""Upstreams, models and routes in the admin."""

# mypy: disable-error-code="type-arg"
# (Django's admin classes are generic in their stubs alone.)

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from gateway.forms import ModelForm, UpstreamForm
from gateway.models import Model, Route, Upstream


@admin.display(description="State", ordering="disabled_at")
def state(one: Upstream | Model) -> SafeString:
    look, text = ("bad", "Disabled") if one.disabled_at else ("good", "In use")
    return format_html('<span class="{}">{}</span>', look, text)


class RouteInline(admin.TabularInline):
    model = Route
    extra = 0
    autocomplete_fields = ("model", "upstream")


@admin.register(Upstream)
class UpstreamAdmin(admin.ModelAdmin):
    form = UpstreamForm
    list_display = ("name", "base_url", "organization", "key_state", state, "created_at")
    list_filter = (("disabled_at", admin.EmptyFieldListFilter),)
    search_fields = ("name", "base_url")
    settings_fields = ("allow_private", "organization", "namespace_prompt_cache")
    fields = ("name", "base_url", "key", "key_state", *settings_fields, "disabled_at", "id", "created_at")
    readonly_fields = ("key_state", "id", "created_at")
    autocomplete_fields = ("organization",)
    inlines = (RouteInline,)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fields if obj else ("name", "base_url", "key", *self.settings_fields)

    @admin.display(description="Key kept", boolean=True)
    def key_state(self, upstream: Upstream) -> bool:
        return upstream.sealed_key is not None

    def save_model(self, request: HttpRequest, obj: Upstream, form: UpstreamForm, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if change and form.has_moved and obj.sealed_key is None:
            moved = f"{obj} is at another address now, so its key was erased. Enter the key that belongs there."
            self.message_user(request, moved, messages.WARNING)


@admin.register(Model)
class TheModelAdmin(admin.ModelAdmin):
    form = ModelForm
    list_display = ("name", "routed_to", state, "context_window", "max_output_tokens")
    list_filter = (("disabled_at", admin.EmptyFieldListFilter), "routes__upstream")
    search_fields = ("name",)
    fields = ("name", "endpoints", "context_window", "max_output_tokens", "disabled_at")
    inlines = (RouteInline,)

    @admin.display(description="Goes to")
    def routed_to(self, model: Model) -> SafeString | str:
        upstreams = [route.upstream.name for route in model.routes.all()]
        return ", ".join(upstreams) or format_html('<span class="{}">{}</span>', "warn", "nowhere: add a route")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Model]:
        return super().get_queryset(request).prefetch_related("routes__upstream")
