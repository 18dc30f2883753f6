"""API keys in the admin: issued, rotated and revoked there. A secret is in one answer and nowhere else."""

# mypy: disable-error-code="type-arg"
# (Django's admin classes are generic in their stubs alone.)

from datetime import timedelta
from typing import Any, ClassVar, cast

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME, AdminErrorList, AdminForm
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.forms import AlreadyIssued, IssueForm, KeyForm
from accounts.models import APIKey, APIKeyQuerySet, User

Issued = list[tuple[APIKey, str]]


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        return [("usable", "Usable"), ("ended", "Revoked or expired"), ("unused", "Usable, never used")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        match self.value():
            case "usable":
                return queryset.usable()
            case "ended":
                return queryset.exclude(pk__in=APIKey.objects.usable())
            case "unused":
                return queryset.usable().filter(last_used_at=None)
        return queryset


class APIKeyAdmin(admin.ModelAdmin):
    form = KeyForm
    list_display = ("name", "shown_hint", "project", "state", "last_used_at", "created_at")
    list_filter = (StateFilter, ("project__organization", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("project__organization",)
    search_fields = ("name", "hint", "project__name", "project__organization__name", "=id")
    search_help_text = "Name, hint, project, organization or id. Of a whole key pasted here only the hint is sent."
    autocomplete_fields = ("project",)
    readonly_fields = (
        "id", "shown_hint", "state", "replaces", "created_by", "created_at",
        "last_used_at", "last_used_address", "last_used_agent",
    )  # fmt: skip
    rights: Any = ("What it may do", {"fields": ("allowed_models", "allowed_endpoints", "allowed_networks")})
    fieldsets: ClassVar[Any] = (
        (None, {"fields": ("project", "name", "expires_at", "tags")}),
        rights,
        ("This key", {"fields": readonly_fields}),
    )
    add_fieldsets = ((None, {"fields": ("project", "name", "expires_at", "tags", "issue_id")}), rights)
    actions = ("rotate_keys", "revoke_keys")

    class Media:
        js = ("js/pasted-key.js", "js/send-once.js")

    @admin.display(description="Hint", ordering="hint")
    def shown_hint(self, key: APIKey) -> SafeString:
        return format_html("<code>{}</code>", key.hint)

    @admin.display(description="State")
    def state(self, key: APIKey) -> SafeString:
        now = timezone.now()
        if key.revoked_at is not None and key.revoked_at <= now:
            look, text = "bad", f"Revoked {key.revoked_at:%Y-%m-%d}"
        elif key.expires_at is not None and key.expires_at <= now:
            look, text = "bad", f"Expired {key.expires_at:%Y-%m-%d}"
        elif key.project.suspended_at or key.project.organization.suspended_at:
            look, text = "warn", "Suspended"
        else:
            look, text = "good", f"Usable until {key.expires_at:%Y-%m-%d}" if key.expires_at else "Usable"
        return format_html('<span class="{}">{}</span>', look, text)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: usage is told by its key. A key that is no longer wanted is revoked."""
        return False

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fieldsets if obj else self.add_fieldsets

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """A key stays in the project that its usage is billed to."""
        return ("project", *self.readonly_fields) if obj else ()

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Issues the key and shows its secret in this very answer: no redirect, session or message ever holds it."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = self._issue_form(request)
        if request.method == "POST" and form.is_valid():
            try:
                with transaction.atomic():
                    key, secret = form.issue(cast(User, request.user))
                    self.log_addition(request, key, [{"added": {}}])
            except AlreadyIssued as error:
                form.add_error(None, str(error))
            else:
                return self._shown_once(request, [(key, secret)], "Key issued")
        return self._issue_page(request, form)

    @admin.action(description="Rotate: issue successors and let these keys run out", permissions=["add", "change"])
    def rotate_keys(self, request: HttpRequest, queryset: APIKeyQuerySet) -> HttpResponse | None:
        """A key is rotated once, then it is its successor's turn: so what is sent again does nothing."""
        grace = timedelta(hours=settings.KEY_ROTATION_GRACE_HOURS)
        with transaction.atomic():
            selected = APIKey.objects.filter(pk__in=list(queryset.values_list("pk", flat=True)))
            list(selected.select_for_update().order_by("pk"))  # the same sent again waits here, then sees what was done
            keys = selected.filter(replaced_by=None).usable().select_related("project__organization")
            if not keys:
                self.message_user(request, "Nothing to rotate: revoked, expired or rotated before.", messages.WARNING)
                return None
            if "confirmed" not in request.POST:
                return self._confirmation(request, keys, "rotate")
            issued = []
            for key in keys:
                issued.append(key.rotate(grace=grace, created_by=cast(User, request.user)))
                self.log_change(request, key, f"Rotated. Its successor is {issued[-1][0].hint}.")
                self.log_addition(request, issued[-1][0], [{"added": {}}])
        return self._shown_once(request, issued, "Key rotated" if len(issued) == 1 else f"{len(issued)} keys rotated")

    @admin.action(description="Revoke: refuse these keys from now on", permissions=["change"])
    def revoke_keys(self, request: HttpRequest, queryset: APIKeyQuerySet) -> HttpResponse | None:
        keys = queryset.filter(revoked_at=None)
        if not keys:
            self.message_user(request, "Nothing to revoke: they were revoked before.", messages.WARNING)
            return None
        if "confirmed" not in request.POST:
            return self._confirmation(request, keys, "revoke")
        with transaction.atomic():
            revoked = [key for key in keys if key.revoke()]
            for key in revoked:
                self.log_change(request, key, "Revoked.")
        self.message_user(request, f"Revoked: {', '.join(map(str, revoked))}.", messages.SUCCESS)
        return None

    def _issue_form(self, request: HttpRequest) -> IssueForm:
        form_class = self.get_form(request, form=IssueForm)
        if request.method == "POST":
            return cast(IssueForm, form_class(request.POST))
        return cast(IssueForm, form_class(initial=self.get_changeform_initial_data(request)))

    def _issue_page(self, request: HttpRequest, form: IssueForm) -> HttpResponse:
        admin_form = AdminForm(form, list(self.get_fieldsets(request)), {}, model_admin=self)
        context = {
            **self.admin_site.each_context(request),
            "title": "Issue a key",
            "adminform": admin_form,
            "errors": AdminErrorList(form, []),
            "media": self.media + admin_form.media,
            "inline_admin_formsets": [],
        }
        return self.render_change_form(request, context, add=True)

    def _confirmation(self, request: HttpRequest, keys: APIKeyQuerySet, action: str) -> HttpResponse:
        named = f"key {keys[0]}" if len(keys) == 1 else f"{len(keys)} keys"
        context = {
            **self._page(request, f"{action.capitalize()} {named}?"),
            "action": action,
            "keys": keys,
            "checkbox": ACTION_CHECKBOX_NAME,
            "grace_hours": settings.KEY_ROTATION_GRACE_HOURS,
        }
        return render(request, "admin/accounts/apikey/confirm.html", context)

    def _shown_once(self, request: HttpRequest, issued: Issued, title: str) -> HttpResponse:
        context = {**self._page(request, title), "issued": issued}
        response = render(request, "admin/accounts/apikey/issued.html", context)
        response["Cache-Control"] = "no-store"
        return response

    def _page(self, request: HttpRequest, title: str) -> dict[str, Any]:
        return {**self.admin_site.each_context(request), "opts": self.opts, "title": title}
