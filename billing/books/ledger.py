"""The books: grants and refunds, the posting of ended records (sql/posting.sql), rollups anew, and the partitions."""

import uuid
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime

from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models import Sum

from accounts.models import Organization, User
from billing import faults
from billing.books import quotas
from billing.books.amounts import MOST
from billing.models import LedgerEntry, Quota

BATCH = 5000
MONTHS_AHEAD = 3
GIVEN = (LedgerEntry.Kind.GRANT, LedgerEntry.Kind.REFUND)


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """How many buckets there are from the hour on that was asked for, and how many of them were not as they should."""

    buckets: int
    corrected: int
    removed: int


def grant(
    organization: Organization, amount: int, reason: str, actor: User | None = None, posting_id: uuid.UUID | None = None
) -> Quota:
    """Prepaid credit: `amount` nano-USD paid in. Returns the credit quota, which the first grant makes.

    From the first on, the organization's requests are refused beyond what was granted. `actor` None: from the command
    line. The same `posting_id` again does nothing. ValidationError where the amount or the reason is none.
    """
    with transaction.atomic():
        _give(_entry(LedgerEntry.Kind.GRANT, organization, amount, reason), actor, posting_id)
        credit = quotas.credit_of(organization)
        assert credit is not None
        return credit


def refund(
    organization: Organization, amount: int, reason: str, actor: User | None = None, posting_id: uuid.UUID | None = None
) -> Quota | None:
    """Gives back `amount` nano-USD of what was charged. Returns the credit, which it raises; None where it is postpaid.

    A postpaid organization owes less: it is in the ledger, and becomes credit should there be a first grant. Else as
    `grant`.
    """
    with transaction.atomic():
        _give(_entry(LedgerEntry.Kind.REFUND, organization, amount, reason), actor, posting_id)
        return quotas.credit_of(organization)


def post_settled() -> int:
    """Posts what has ended and is not posted yet; returns how many records. May run anywhere, at once, and die."""
    total = 0
    while posted := _number("SELECT billing_post_settled(%s)", BATCH):
        faults.reach("post.after")
        total += posted
    return total


def rebuild_rollups(since: datetime | None = None) -> Rebuilt:
    """Makes the rollups, from the hour of `since` on, the sums of what is posted. Posting waits meanwhile."""
    start = since.astimezone(UTC).replace(minute=0, second=0, microsecond=0) if since else None
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM billing_rebuild_rollups(coalesce(%s, '-infinity'::timestamptz))", [start])
        return Rebuilt(*cursor.fetchone())


def make_partitions() -> int:
    """Makes the partitions of this month and the next three where they are missing; returns how many."""
    return _number("SELECT billing_make_partitions(%s)", MONTHS_AHEAD)


def _entry(kind: LedgerEntry.Kind, organization: Organization, amount: int, reason: str) -> LedgerEntry:
    """The organization's side of a grant or refund, if it is one."""
    if not 0 < amount <= MOST:
        raise ValidationError(f"A {kind} is of more than nothing, and of USD 1,000,000,000 at most.")
    if not reason.strip():
        raise ValidationError(f"A {kind} needs a reason: say what it is for.")
    account = LedgerEntry.Account.ORGANIZATION
    return LedgerEntry(
        kind=kind, account=account, organization=organization, amount_nano_usd=amount, reason=reason.strip()
    )


def _give(entry: LedgerEntry, actor: User | None, posting_id: uuid.UUID | None) -> None:
    """Books the entry with its other side, and raises the credit by as much; does nothing where that was done."""
    posting_id = posting_id or uuid.uuid4()
    quotas.lock(entry.organization)
    if LedgerEntry.objects.filter(posting_id=posting_id).exists():
        return
    entry.posting_id, entry.actor = posting_id, actor
    against = copy(entry)
    against.account = LedgerEntry.Account.FUNDS if entry.kind == "grant" else LedgerEntry.Account.REVENUE
    against.amount_nano_usd = -entry.amount_nano_usd
    LedgerEntry.objects.bulk_create([entry, against])
    _raise_credit(entry)


def _raise_credit(entry: LedgerEntry) -> None:
    credit = quotas.credit_of(entry.organization)
    if credit is not None:
        quotas.set_limit(credit, credit.limit_amount + entry.amount_nano_usd)
    elif entry.kind == LedgerEntry.Kind.GRANT:
        given = LedgerEntry.objects.filter(organization=entry.organization, account="organization", kind__in=GIVEN)
        quotas.begin_credit(entry.organization, given.aggregate(sum=Sum("amount_nano_usd"))["sum"], entry.actor)


def _number(query: str, argument: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute(query, [argument])
        (number,) = cursor.fetchone()
        return int(number)
