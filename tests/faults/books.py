"""After whatever happened: the upstream's log against the records, and the records against all that is summed of them.

`assert_books_balance` is the one place where the books are checked.
"""

from collections import Counter

from django.db.models import Sum

from billing.books.ledger import post_settled
from billing.books.reconcile import reconcile
from billing.models import Adjustment, Hold, LedgerEntry, Quota, QuotaWindow, UsageRecord, UsageRollup
from tests.tenants import Tenant, until

TRUE_SOURCES = {"reported", "drained", "recovered"}
TOKENS = ("input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")


def funded(name, url):
    """A tenant with a quota of each metric, on each level, all of them wide."""
    tenant = Tenant.make(name, url)
    owner = {"organization": tenant.organization}
    Quota.objects.create(**owner, metric="cost", period="forever", limit_amount=10**15)
    Quota.objects.create(**owner, metric="cost", period="day", limit_amount=1, is_hard=False)
    Quota.objects.create(**owner, project=tenant.project, metric="tokens", period="day", limit_amount=10**12)
    Quota.objects.create(**owner, api_key=tenant.key, metric="requests", period="month", limit_amount=10**6)
    return tenant


class UpstreamsLog:
    """What the simulator was asked from now on, by request id."""

    def __init__(self, upstream):
        self._upstream = upstream
        self._after = max((entry["number"] for entry in upstream.lines()), default=0)

    def requests(self):
        """request id -> the log's line on how it ended, once all have ended."""
        until(lambda: all(self._lines().values()), seconds=60)
        return self._lines()

    def _lines(self):
        entries = [entry for entry in self._upstream.lines() if entry["number"] > self._after]
        ended = {entry["number"]: entry for entry in entries if entry["kind"] == "ended"}
        asked = [entry for entry in entries if entry["kind"] == "arrived" and entry["method"] == "POST"]
        ids = Counter(entry["client_request_id"] for entry in asked)
        assert max(ids.values(), default=1) == 1, "a request went upstream twice"
        return {entry["client_request_id"]: ended.get(entry["number"]) for entry in asked}


def records_of(tenant, *, seconds=30):
    """All records of a tenant, once nothing of it is open."""
    until(lambda: not Hold.objects.filter(organization=tenant.organization).exists(), seconds=seconds)
    return tenant.records()


def assert_one_record_each(records, asked, told):
    """`asked`: the upstream's log by request id; `told`: what clients saw at the end of their answers."""
    by_id = {str(record.id): record for record in records}
    assert asked.keys() <= by_id.keys(), "billable, and without a record"
    for request_id, record in by_id.items():
        usage = asked.get(request_id, {}).get("usage")
        if record.usage_source in TRUE_SOURCES:
            assert (record.state, _tokens(record)) == ("settled", _reported(usage)), record.flags
        elif record.usage_source == "estimated":
            assert record.flags, request_id
        else:
            assert (record.state, record.cost_nano_usd) == ("void", 0)
        if record.state == "void":
            assert not usage, "used, and not billed"
    for request_id, (read, written) in told.items():
        record = by_id[request_id]
        assert record.usage_source in TRUE_SOURCES
        assert (record.input_tokens, record.output_tokens) == (read, written)


def assert_books_balance(tenant):
    """Nothing is held; windows, rollups and ledger say what records and adjustments say; the reconciler agrees."""
    owned = {"organization": tenant.organization}
    records, adjustments = UsageRecord.objects.filter(**owned), Adjustment.objects.filter(**owned)
    assert not Hold.objects.filter(**owned).exists()
    assert all(record.cost_nano_usd == record.charged_nano_usd + record.overage_nano_usd for record in records)
    assert all(record.charged_nano_usd <= record.hold_nano_usd for record in records if record.is_bound)
    for window in QuotaWindow.objects.filter(quota__organization=tenant.organization).select_related("quota"):
        posted = sum(_posted(record, window.id) for record in records)
        posted += sum(dict(zip(a.window_ids, a.posted_amounts, strict=True)).get(window.id, 0) for a in adjustments)
        assert (window.held, window.posted) == (0, posted), str(window.quota)
    until(lambda: (post_settled(), records.unposted().exists() or adjustments.unposted().exists())[1] is False)
    for column in (*TOKENS, "cost_nano_usd", "charged_nano_usd", "overage_nano_usd"):
        assert _sum(UsageRollup, column, owned) == _sum(UsageRecord, column, owned) + _sum(Adjustment, column, owned)
    charged = _sum(UsageRecord, "charged_nano_usd", owned) + _sum(Adjustment, "charged_nano_usd", owned)
    accounts = {account: _sum(LedgerEntry, "amount_nano_usd", owned | {"account": account})
                for account in ("organization", "revenue")}  # fmt: skip
    assert accounts == {"organization": -charged, "revenue": charged}

    breaches = _breaches(owned)
    assert not breaches, breaches


def _breaches(owned):
    """What the reconciler finds wrong with requests, windows and quotas of this tenant."""
    ours = {str(record.id) for record in UsageRecord.objects.filter(**owned)}
    for quota in Quota.objects.filter(**owned).prefetch_related("windows"):
        ours |= {str(quota.id), *(str(window.id) for window in quota.windows.all())}
    return [(check.name, breach) for check in reconcile() for breach in check.breaches if breach.id in ours]


def _posted(record, window_id):
    if window_id not in record.window_ids:
        return 0
    place = record.window_ids.index(window_id)
    tokens = record.input_tokens + record.output_tokens
    return {
        "hard cost": record.charged_nano_usd,
        "soft cost": record.cost_nano_usd,
        "hard tokens": min(tokens, record.held_amounts[place]),
        "hard requests": int(record.state == "settled"),
    }[record.held_as[place]]


def _tokens(record):
    return tuple(getattr(record, name) for name in TOKENS)


def _reported(usage):
    """The simulator's usage, as a record has it."""
    read, written = usage["input_tokens_details"], usage["output_tokens_details"]
    return (
        usage["input_tokens"], read["cached_tokens"], read["cache_write_tokens"], usage["output_tokens"],
        written["reasoning_tokens"],
    )  # fmt: skip


def _sum(model, column, owned):
    return model.objects.filter(**owned).aggregate(sum=Sum(column))["sum"] or 0
