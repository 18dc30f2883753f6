"""Read-only questions about usage, for console, API and commands.

Answers are plain data that JSON can say: ids are strings, times ISO 8601 in UTC with Z, money integer nano-USD.
"""

import zoneinfo
from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypedDict, TypeVar
from uuid import UUID

from django.db.models import Count, Max, Q, QuerySet, Sum
from django.db.models.functions import TruncDay, TruncHour
from django.utils import timezone

from accounts.models import APIKey, Organization, User
from billing.models import (
    Adjustment,
    AdjustmentQuerySet,
    Hold,
    UsageRecord,
    UsageRecordQuerySet,
    UsageRollup,
    UsageRollupQuerySet,
)

Rows = TypeVar("Rows", UsageRollupQuerySet, UsageRecordQuerySet, AdjustmentQuerySet)


class Group(StrEnum):
    """What usage can be grouped by. A project comes with its organization, a key with both."""

    ORGANIZATION = "organization"
    PROJECT = "project"
    KEY = "key"
    MODEL = "model"
    HOUR = "hour"
    DAY = "day"


class Usage(TypedDict):
    """`rows`: the columns of the groups asked for and SUMS each; `total`: the SUMS of them all."""

    since: str | None
    rows: list[dict[str, Any]]
    total: dict[str, int]


SUMS = (
    "requests", "voided", "input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens",
    "cost_nano_usd", "charged_nano_usd", "overage_nano_usd",
)  # fmt: skip
AMOUNTS = SUMS[2:]
ORGANIZATION = {"organization_id": "organization_id"}
PROJECT = ORGANIZATION | {"project_id": "project_id"}
COLUMNS: dict[Group, dict[str, str]] = {
    Group.ORGANIZATION: ORGANIZATION,
    Group.PROJECT: PROJECT,
    Group.KEY: PROJECT | {"key_id": "api_key_id"},
    Group.MODEL: {"model": "model"},
    Group.HOUR: {"hour": "hour"},
    Group.DAY: {"day": "day"},
}
# What the ids are called. Maxima of equal texts: grouping by five texts took three times as long.
NAMES = {
    "organization_id": {"organization": Max("organization__name")},
    "project_id": {"project": Max("project__name")},
    "key_id": {"key": Max("api_key__name"), "hint": Max("api_key__hint")},
}
IN_FULL = (Group.KEY, Group.MODEL)


def usage(
    *,
    user: User | None = None,
    organization: Organization | None = None,
    key: APIKey | None = None,
    since: datetime | None = None,
    by: Collection[Group] = IN_FULL,
) -> Usage:
    """What was used: the rollups plus what has ended and is not posted yet, read in one statement and so one snapshot.

    `user` sees what is theirs, None (the commands) everything. `since` counts from the start of its hour, which the
    answer names: the rollups know no less, and a record must not come or go by being posted. `requests` are the
    settled ones, `voided` those that failed and cost nothing. The dearest row is first; hours and days come in order.
    """
    start = since.astimezone(UTC).replace(minute=0, second=0, microsecond=0) if since else None
    columns = {name: path for group in Group if group in (by or IN_FULL) for name, path in COLUMNS[group].items()}
    only = Q(organization=organization) if organization else Q()
    only &= Q(api_key=key) if key else Q()
    rollups = _seen(UsageRollup.objects.filter(only), user, start).annotate(day=TruncDay("hour", tzinfo=UTC))
    hours = {"hour": TruncHour("created_at", tzinfo=UTC), "day": TruncDay("created_at", tzinfo=UTC)}
    records = _seen(UsageRecord.objects.filter(only).unposted(), user, start).annotate(**hours)
    adjustments = _seen(Adjustment.objects.filter(only).unposted(), user, start).annotate(**hours)
    parts = (
        _summed(rollups, columns, _ROLLUP_SUMS)
        .union(_summed(records, columns, _RECORD_SUMS), _summed(adjustments, columns, _ADJUSTMENT_SUMS), all=True)
        .order_by()
    )
    rows = _merged(parts, [*columns, *_names(columns)])
    return {"since": _iso(start), "rows": rows, "total": {name: sum(row[name] for row in rows) for name in SUMS}}


def recent_requests(
    *, user: User | None = None, organization: Organization | None = None, limit: int = 50
) -> list[Hold | UsageRecord]:
    """The newest requests that `user` may see, open or ended, with organization, project and key loaded."""
    newest: dict[UUID, Hold | UsageRecord] = {}  # what ends between the two looks is seen by both: it has ended
    for requests in (Hold.objects.all(), UsageRecord.objects.all()):
        seen = requests.visible_to(user) if user else requests
        if organization:
            seen = seen.filter(organization=organization)
        for request in seen.select_related("organization", "project", "api_key").order_by("-created_at", "-id")[:limit]:
            newest[request.id] = request
    return sorted(newest.values(), key=lambda request: request.id, reverse=True)[:limit]


def receipt(record_id: UUID) -> dict[str, Any]:
    """What became of one request and how its cost came about. UsageRecord.DoesNotExist where there is none.

    The cost is the sum of the lines' amounts, rounded half up to a nano once. Where the truth came after an estimate,
    usage, cost and lines are the truth's, and `adjustment` says what it changed.
    """
    request: Any = Hold.objects.filter(id=record_id).select_related("organization", "project", "api_key").first()
    if request is None:
        request = UsageRecord.objects.select_related("organization", "project", "api_key").get(id=record_id)
    adjustment = Adjustment.objects.filter(record_id=record_id).first()
    truth = adjustment or request
    final = {name: getattr(request, name, 0) + (getattr(adjustment, name) if adjustment else 0) for name in AMOUNTS}
    return {
        "id": str(request.id), "state": "settled" if adjustment else request.state,
        "usage_source": getattr(truth, "usage_source", "none"),
        "organization": request.organization.name, "organization_id": str(request.organization_id),
        "project": request.project.name, "project_id": str(request.project_id),
        "key": request.api_key.name, "key_id": str(request.api_key_id),
        "model": request.model, "upstream": request.upstream, "response_id": truth.response_id,
        "service_tier": getattr(truth, "service_tier", ""), "status": request.status, "stream": request.stream,
        "usage": {
            "input_tokens": final["input_tokens"], "cached_tokens": final["cached_tokens"],
            "cache_write_tokens": final["cache_write_tokens"], "output_tokens": final["output_tokens"],
            "reasoning_tokens": final["reasoning_tokens"],
            "total_tokens": final["input_tokens"] + final["output_tokens"],
        },
        "tool_calls": getattr(truth, "tool_calls", {}), "hold_nano_usd": request.hold_nano_usd,
        "cost_nano_usd": final["cost_nano_usd"], "charged_nano_usd": final["charged_nano_usd"],
        "overage_nano_usd": final["overage_nano_usd"], "lines": getattr(truth, "lines", []),
        "created_at": _iso(request.created_at), "first_byte_ms": request.first_byte_ms,
        "latency_ms": request.latency_ms, "flags": request.flags + (adjustment.flags if adjustment else []),
        "adjustment": _change(adjustment) if adjustment else None,
    }  # fmt: skip


def _change(adjustment: Adjustment) -> dict[str, Any]:
    return {name: getattr(adjustment, name) for name in AMOUNTS} | {"created_at": _iso(adjustment.created_at)}


def today(zone: str = "UTC") -> datetime:
    """When today began in that time zone."""
    return timezone.localtime(timezone=zoneinfo.ZoneInfo(zone)).replace(hour=0, minute=0, second=0, microsecond=0)


# The names differ from the columns': Django keeps an annotation from hiding a field.
_SETTLED, _VOID = Q(state=UsageRecord.State.SETTLED), Q(state=UsageRecord.State.VOID)
_ROLLUP_SUMS = {f"sum_{name}": Sum(name) for name in SUMS}
_RECORD_SUMS = _ROLLUP_SUMS | {"sum_requests": Count("id", filter=_SETTLED), "sum_voided": Count("id", filter=_VOID)}

_ADJUSTMENT_SUMS = _ROLLUP_SUMS | {"sum_requests": Sum("requests"), "sum_voided": -Sum("requests")}


def _seen(rows: Rows, user: User | None, start: datetime | None) -> Rows:
    """Of `rows`, what `user` may see (None: all) from `start` on."""
    rows = rows.visible_to(user) if user else rows
    return rows.since(start) if start else rows


def _summed(rows: QuerySet[Any], columns: dict[str, str], sums: dict[str, Any]) -> QuerySet[Any, Any]:
    """One tuple a group: its columns, their names, then SUMS."""
    names = {f"name_{name}": expression for name, expression in _names(columns).items()}
    summed: QuerySet[Any, Any] = rows.order_by().values_list(*columns.values()).annotate(**names, **sums)
    return summed


def _names(columns: Iterable[str]) -> dict[str, Max]:
    return {name: expression for column in columns for name, expression in NAMES.get(column, {}).items()}


def _merged(parts: Iterable[tuple[Any, ...]], columns: list[str]) -> list[dict[str, Any]]:
    """Rows of groups that may occur twice, once posted and once not."""
    groups: defaultdict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0] * len(SUMS))
    for part in parts:
        sums = groups[part[: len(columns)]]
        for index, value in enumerate(part[len(columns) :]):
            sums[index] += int(value or 0)
    rows = [dict(zip((*columns, *SUMS), (*group, *sums), strict=True)) for group, sums in groups.items()]
    rows.sort(key=lambda row: (row.get("day"), row.get("hour"), -row["cost_nano_usd"], *map(str, row.values())))
    return [{name: _plain(value) for name, value in row.items()} for row in rows]


def _plain(value: Any) -> Any:
    return _iso(value) if isinstance(value, datetime) else str(value) if isinstance(value, UUID) else value


def _iso(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z") if moment else None
