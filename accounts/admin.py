"""People, organizations and projects in the admin. Keys have a file of their own: accounts/key_admin.py."""

# mypy: disable-error-code="type-arg"
# (Django's admin classes are generic in their stubs alone.)

from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.forms import ProjectForm
from accounts.key_admin import APIKeyAdmin
from accounts.models import APIKey, Membership, Organization, Project, User


@admin.action(description="Suspend: refuse every key of it", permissions=["change"])
def suspend(modeladmin: admin.ModelAdmin, request: HttpRequest, queryset: QuerySet[Any]) -> None:
    running = list(queryset.filter(suspended_at=None))
    modeladmin.model._default_manager.filter(pk__in=[one.pk for one in running]).update(suspended_at=timezone.now())
    for one in running:
        modeladmin.log_change(request, one, "Suspended.")
    modeladmin.message_user(request, f"Suspended: {_named(running)}. Their open streams end within 5 s.")


@admin.action(description="Resume: accept its keys again", permissions=["change"])
def resume(modeladmin: admin.ModelAdmin, request: HttpRequest, queryset: QuerySet[Any]) -> None:
    suspended = list(queryset.exclude(suspended_at=None))
    modeladmin.model._default_manager.filter(pk__in=[one.pk for one in suspended]).update(suspended_at=None)
    for one in suspended:
        modeladmin.log_change(request, one, "Resumed.")
    modeladmin.message_user(request, f"Resumed: {_named(suspended)}.", messages.SUCCESS)


@admin.display(description="State", ordering="suspended_at")
def suspension(one: Organization | Project) -> SafeString:
    if one.suspended_at is None:
        return format_html('<span class="{}">{}</span>', "good", "Active")
    # format_html makes its arguments text before it formats them, so a datetime has to come formatted.
    return format_html('<span class="bad">Suspended since {}</span>', f"{one.suspended_at:%Y-%m-%d %H:%M}")


class MembershipInline(admin.TabularInline):
    model = Membership
    extra = 0
    autocomplete_fields: ClassVar = ["user", "organization"]


@admin.register(User)
class PersonAdmin(UserAdmin):
    list_display = ("username", "email", "is_active", "is_staff", "last_login")
    inlines = (MembershipInline,)

    def get_inlines(self, request: HttpRequest, obj: Any = None) -> Any:
        """Memberships once the person exists: Django's first step asks for name and password alone."""
        return self.inlines if obj else ()


@admin.register(Organization)
class OrganizationAdmin(admin.ModelAdmin):
    list_display = ("name", suspension, "time_zone", "created_at")
    list_filter = (("suspended_at", admin.EmptyFieldListFilter),)
    search_fields = ("name", "=id")
    search_help_text = "Name, or the whole id."
    readonly_fields = ("id", "created_at")
    fields = ("name", "time_zone", "suspended_at", "id", "created_at")
    actions = (suspend, resume)
    inlines = (MembershipInline,)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fields if obj else ("name", "time_zone")


@admin.register(Project)
class ProjectAdmin(admin.ModelAdmin):
    list_display = ("name", "organization", suspension, "created_at")
    list_filter = (("suspended_at", admin.EmptyFieldListFilter),)
    list_select_related = ("organization",)
    search_fields = ("name", "organization__name", "=id")
    search_help_text = "Name of the project or its organization, or the whole id."
    autocomplete_fields = ("organization",)
    form = ProjectForm
    readonly_fields = ("id", "created_at")
    fields = (
        "organization", "name", "suspended_at", "allowed_service_tiers", "allowed_tools", "allows_store", "allows_urls",
        "id", "created_at",
    )  # fmt: skip
    actions = (suspend, resume)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Project]:
        """With the organization, which names it: the lists of choices do not ask list_select_related."""
        return super().get_queryset(request).select_related("organization")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fields if obj else ("organization", "name")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """A project stays where its usage was billed."""
        return ("organization", *self.readonly_fields) if obj else self.readonly_fields


admin.site.register(APIKey, APIKeyAdmin)


def _named(things: list[Any]) -> str:
    return ", ".join(map(str, things)) or "none"
