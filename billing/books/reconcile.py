"""Whether the books balance: the invariants I1 to I7, each looked at by some checks (reconcile.sql), in one snapshot.

Nothing is written and nobody waits for it, but while it runs the database keeps every version of a row that changes.
"""

import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection, transaction

logger = logging.getLogger(__name__)

MOST_NAMED = 1_000
MOST_LOGGED = 20
LONGEST = timedelta(hours=6, minutes=15)  # the longest stream, and time to end it

# Over arrays the planner misjudges how many differ, and would sort all records to merge them with nothing.
PLANS = "SET LOCAL enable_mergejoin = off"

_HEADING = re.compile(r"^--- (\w+) (I\d)\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Breach:
    """`id`: of a window, quota, posting, request or adjustment (its record), or the columns of a bucket."""

    id: str
    what: str


@dataclass(frozen=True, slots=True)
class Check:
    """It looked at `checked` things; `found` of them are wrong, and `breaches` names these, up to MOST_NAMED."""

    name: str
    invariant: str
    checked: int
    found: int
    breaches: tuple[Breach, ...]

    @property
    def ok(self) -> bool:
        return self.found == 0


def reconcile(
    since: datetime | None = None, *, gone: timedelta | None = None, longest: timedelta = LONGEST
) -> list[Check]:
    """All checks over everything; with `since`, over what may have changed from then on and over what is open.

    An open request is a breach once its process is `gone` for so long (None: twice the time after which a silent host
    counts as lost), or it is open for longer than `longest`.
    With `since`, what was posted is summed up only for windows that began at most a day before it.
    Not to be called within a transaction: it needs one of its own.
    """
    gone = gone or 2 * timedelta(seconds=settings.HOST_SILENT_SECONDS)
    parameters: dict[str, Any] = {"since": since, "gone": str(gone), "longest": str(longest)}
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        cursor.execute(f"SET LOCAL work_mem = '64MB'; {PLANS}")
        checks = []
        for name, invariant, statement in _checks():
            cursor.execute(_counted(statement), parameters)
            checked, found, ids, whats = cursor.fetchone()
            breaches = tuple(Breach(*breach) for breach in sorted(zip(ids, whats, strict=True)))
            checks.append(Check(name, invariant, checked, found, breaches))
    return checks


def raise_alarms(checks: Iterable[Check]) -> None:
    """An error in the log for each breach, up to MOST_LOGGED of a check and their number."""
    for check in checks:
        for breach in check.breaches[:MOST_LOGGED]:
            logger.error("reconcile: %s (%s): %s: %s", check.name, check.invariant, breach.id, breach.what)
        if check.found > MOST_LOGGED:
            logger.error("reconcile: %s (%s): %d breaches in all", check.name, check.invariant, check.found)


def _counted(statement: str) -> str:
    """One row: how many things there are, how many of them are wrong, ids and sentences of these."""
    named = f"FILTER (WHERE what IS NOT NULL))[:{MOST_NAMED}], '{{}}')"
    return f"""
        SELECT count(*), count(what), coalesce((array_agg(id::text) {named}, coalesce((array_agg(what) {named}
        FROM ({statement}) AS looked_at(id, what)"""  # noqa: S608 - of our own file


def _checks() -> list[tuple[str, str, str]]:
    """Name, invariant and statement of each check, in the order of the file."""
    parts = _HEADING.split((Path(__file__).parent / "reconcile.sql").read_text())[1:]
    return list(zip(parts[::3], parts[1::3], parts[2::3], strict=True))
