"""Quotas as people set them, and how much of each is left.

What changes a quota locks its organization first, so changes of one organization come one after the other. The lane
knows no such lock: it locks quotas by id, then windows by id, and so does what is done here.
"""

from datetime import datetime
from typing import Any, TypedDict, cast

from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from accounts.models import APIKey, Organization, Project, User
from billing.books.amounts import MOST
from billing.models import Quota, QuotaQuerySet

Scope = Organization | Project | APIKey
LEVELS = ("organization", "project", "key")


class Balance(TypedDict):
    """How a quota stands. Amounts are nano-USD, tokens or requests; `window` is the period, `renews_at` None: never.

    `left` is what a hold may take, never below zero, though more may be posted on a soft quota.
    """

    level: str  # organization, project or key
    name: str
    metric: str
    window: str
    hard: bool
    credit: bool
    limit: int
    posted: int
    held: int
    left: int
    renews_at: datetime | None


def set_quota(  # noqa: PLR0913 - what a quota is
    scope: Scope, metric: str, period: str, limit: int, *, is_hard: bool = True, actor: User | None = None
) -> Quota:
    """The quota of that kind on `scope`, with that limit in nano-USD, tokens or requests from now on.

    One that is there gets the limit and keeps what was used. Where it was hard and becomes soft, or the other way
    round, a new one takes its place and counts from now. ValidationError where the limit is out of range.
    """
    _check(limit)
    with transaction.atomic():
        columns = place(scope)
        lock(columns["organization"])
        # All of the scope in their order: a new one opens whichever windows are to be opened there.
        list(Quota.objects.in_force().filter(scope_id=scope.pk).select_for_update(no_key=True).order_by("id"))
        there = _kind(scope, metric, period).first()
        if there is not None and there.is_hard == is_hard:
            set_limit(there, limit)
            return there
        if there is not None:
            retire(there)
        terms = {"metric": metric, "period": period, "limit_amount": limit, "is_hard": is_hard}
        return make(Quota(**columns, **terms, created_by=actor))


def find(scope: Scope, metric: str, period: str) -> Quota | None:
    """The quota of that kind in force on `scope`; prepaid credit is none of these."""
    return _kind(scope, metric, period).first()


def change_limit(quota: Quota, limit: int) -> bool:
    """That limit from now on; False where the quota is retired, or prepaid credit."""
    with transaction.atomic():
        lock(quota.organization)
        if not Quota.objects.in_force().filter(pk=quota.pk, is_credit=False).exists():
            return False
        set_limit(quota, limit)
        return True


def retire(quota: Quota) -> bool:
    """It counts and refuses nothing any more; False where it was retired before, or is prepaid credit."""
    alive = Quota.objects.in_force().filter(pk=quota.pk, is_credit=False)
    return alive.update(retired_at=Now()) == 1


def make(quota: Quota) -> Quota:
    """Saves a new quota and opens its first window, in the caller's transaction, which has locked the organization."""
    _check(quota.limit_amount)
    quota.clean_fields()
    quota.save(force_insert=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT billing_open_windows(ARRAY[scope_id]) FROM billing_quota WHERE id = %s", [quota.pk])
    quota.refresh_from_db()
    return quota


def place(scope: Scope) -> dict[str, Any]:
    """The columns that say what a quota is on."""
    if isinstance(scope, APIKey):
        return {"organization": scope.project.organization, "project": scope.project, "api_key": scope}
    if isinstance(scope, Project):
        return {"organization": scope.organization, "project": scope}
    return {"organization": scope}


def set_limit(quota: Quota, limit: int) -> None:
    """The limit of the quota and its window, in the caller's transaction. What is used above it stays."""
    _check(limit)
    with connection.cursor() as cursor:
        cursor.execute("SELECT billing_set_limit(%s, %s)", [quota.pk, limit])
    quota.refresh_from_db()


def lock(organization: Organization) -> None:
    """Until the end of the transaction no other change of the organization's quotas begins."""
    Organization.objects.select_for_update(no_key=True).get(pk=organization.pk)


def credit_of(organization: Organization) -> Quota | None:
    """The organization's prepaid credit, None where it is postpaid."""
    return Quota.objects.in_force().filter(organization=organization, is_credit=True).first()


def end_credit(organization: Organization) -> int | None:
    """The organization is postpaid again: its credit refuses nothing and is charged nothing more, but for what is open.

    Returns the nano-USD left, which stay in the ledger and are credit again from the next grant on; None where it was
    postpaid before.
    """
    with transaction.atomic():
        lock(organization)
        left = next((balance["left"] for balance in balances(organization) if balance["credit"]), None)
        Quota.objects.in_force().filter(organization=organization, is_credit=True).update(retired_at=Now())
        return left


def begin_credit(organization: Organization, limit: int, actor: User | None) -> Quota:
    """Prepaid credit with that limit, in the caller's transaction, which has locked the organization. Where it had
    credit before, what was charged to that still counts.
    """
    ended = Quota.objects.filter(organization=organization, is_credit=True).first()
    if ended is None:
        terms = {"metric": Quota.Metric.COST, "period": Quota.Period.FOREVER, "limit_amount": limit}
        return make(Quota(organization=organization, is_credit=True, created_by=actor, **terms))
    Quota.objects.filter(pk=ended.pk).update(retired_at=None)
    set_limit(ended, limit)
    return ended


def balances(organization: Organization) -> list[Balance]:
    """All quotas in force of the organization, its projects and its keys, prepaid credit first."""
    quotas = Quota.objects.in_force().filter(organization=organization).standing().named()
    renamed = {"window": F("period"), "hard": F("is_hard"), "credit": F("is_credit"), "limit": F("limit_amount")}
    names = [name for name in Balance.__annotations__ if name not in renamed]
    rows = cast(list[Balance], list(quotas.values(*names, **renamed)))
    return sorted(
        rows,
        key=lambda row: (
            not row["credit"], LEVELS.index(row["level"]), row["name"], row["metric"], row["renews_at"] is None,
            row["window"],
        ),
    )  # fmt: skip


def _kind(scope: Scope, metric: str, period: str) -> QuotaQuerySet:
    return Quota.objects.in_force().filter(scope_id=scope.pk, metric=metric, period=period, is_credit=False)


def _check(limit: int) -> None:
    if not 0 <= limit <= MOST:
        raise ValidationError(f"A limit is from 0 to {MOST:,}: choose another one.")
