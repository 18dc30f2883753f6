"""Quotas for tests through real sockets, and what the books say of them."""

from django.db import connection

from billing.models import Quota, QuotaWindow


def set_quota(metric, limit, *, organization=None, project=None, api_key=None, period="forever", **fields):
    """A quota on one of the three, with its window open."""
    owner = {"organization": organization}
    if project is not None:
        owner = {"organization": project.organization, "project": project}
    if api_key is not None:
        owner = {"organization": api_key.project.organization, "api_key": api_key}
    quota = Quota.objects.create(metric=metric, limit_amount=limit, period=period, **owner, **fields)
    with connection.cursor() as cursor:
        cursor.execute("SELECT billing_open_windows(ARRAY[scope_id]) FROM billing_quota WHERE id = %s", [quota.id])
    return quota


def window_of(quota):
    """Its current window."""
    return QuotaWindow.objects.get(id=Quota.objects.values_list("window_id").get(id=quota.id)[0])
