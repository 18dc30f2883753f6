"""What pages of the admin share that show rows which only the database functions write."""

# mypy: disable-error-code="type-arg"
# (Django's admin classes are generic in their stubs alone.)

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.http import HttpRequest


def figure(field: str, label: str, form: Callable[[Any], str]) -> Callable[[Any], str]:
    """A column or field of the admin that shows `field` in the form people read it."""

    @admin.display(description=label, ordering=field)
    def shown(row: Any) -> str:
        return form(getattr(row, field))

    shown.__name__ = f"{field}_figure"
    return shown


class ReadOnlyAdmin(admin.ModelAdmin):
    """For rows that only the database functions write."""

    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
