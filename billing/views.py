"""The console's pages. Every figure comes from billing/books/reports.py; the address says what is looked at."""

from datetime import timedelta
from typing import cast

from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from accounts.models import Organization, User
from billing.books import hours, reports
from billing.books.reports import Group

GROUPS = (Group.ORGANIZATION, Group.PROJECT, Group.KEY, Group.MODEL)


@require_safe
@never_cache
@login_required
def today(request: HttpRequest) -> HttpResponse:
    """What was used since midnight UTC, and the last requests. `?by=` a group, `?organization=` an id."""
    user = cast(User, request.user)
    group = chosen_group(request)
    organization = chosen_organization(request, user)
    midnight = reports.today()
    used = reports.usage(user=user, organization=organization, since=midnight, by=[group])
    by_hour = reports.usage(user=user, organization=organization, since=midnight - timedelta(days=1), by=[Group.HOUR])
    context = {
        "midnight": midnight,
        "group": group,
        "groups": GROUPS,
        "organization": organization,
        "organizations": Organization.objects.visible_to(user),
        "used": used,
        "hours": hours.of_day(midnight, by_hour["rows"]),
        "requests": reports.recent_requests(user=user, organization=organization),
    }
    return render(request, "console/today.html", context)


def chosen_group(request: HttpRequest) -> Group:
    try:
        group = Group(request.GET.get("by", Group.MODEL))
    except ValueError as error:
        raise Http404 from error
    if group not in GROUPS:
        raise Http404
    return group


def chosen_organization(request: HttpRequest, user: User) -> Organization | None:
    """The organization in the address, 404 alike whether it is unknown or not theirs; None for all they may see."""
    chosen = request.GET.get("organization")
    if not chosen:
        return None
    try:
        return get_object_or_404(Organization.objects.visible_to(user), pk=chosen)
    except ValidationError as error:
        raise Http404 from error
