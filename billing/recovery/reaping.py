"""What lost hosts left open, ended by what the database knows of it (orphan.py). Any process may run it, also twice.

A host is lost when all its processes have been silent for a while. Looks measure the silence: each adds at most twice
the time that should lie between two, so that an outage of the database, or of whoever looks, is no silence.
"""

import logging
from collections.abc import Sequence

import msgspec
from django.db import DatabaseError, connection, transaction

from billing.metering.connection import PLANS
from billing.record import Settlement
from billing.recovery.orphan import ORPHANS, Orphan, orphan_of

logger = logging.getLogger(__name__)

MOST = 500
DAYS_KEPT = 7

LOOK = """
UPDATE billing_process SET
    silent_seconds = CASE WHEN seen_heartbeat_at = heartbeat_at
        THEN silent_seconds + least(extract(epoch FROM now() - looked_at), %(look)s * 2) ELSE 0 END,
    seen_heartbeat_at = heartbeat_at, looked_at = now()
WHERE stopped_at IS NULL
"""
OF_LOST_HOSTS = """
WHERE process_id IN (SELECT billing_lost_processes(%(silent)s))
    OR (created_at < now() - make_interval(secs => %(silent)s)
        AND NOT EXISTS (SELECT FROM billing_process p WHERE p.id = h.process_id))
ORDER BY h.id LIMIT %(most)s
"""
STOP = """
UPDATE billing_process p SET stopped_at = now()
WHERE stopped_at IS NULL AND id IN (SELECT billing_lost_processes(%(silent)s))
    AND NOT EXISTS (SELECT FROM billing_hold WHERE process_id = p.id)
"""
FORGET = """
DELETE FROM billing_process p WHERE stopped_at < now() - make_interval(days => %s)
    AND NOT EXISTS (SELECT FROM billing_hold WHERE process_id = p.id)
"""


def look(look_seconds: float) -> None:
    """Notes which processes showed no sign of life since the last look, `look_seconds` ago by rights."""
    with connection.cursor() as cursor:
        cursor.execute(LOOK, {"look": look_seconds})


def orphans(silent_seconds: float) -> list[Orphan]:
    """Open requests of processes on hosts that were silent so long; the oldest 500."""
    with connection.cursor() as cursor:
        cursor.execute(ORPHANS + OF_LOST_HOSTS, {"silent": silent_seconds, "most": MOST})
        return [orphan_of(row) for row in cursor.fetchall()]


def end(settlements: Sequence[Settlement]) -> int:
    """Ends them, together or else one by one; returns how many. What has ended meanwhile stays as it is."""
    try:
        _end(settlements)
        return len(settlements)
    except DatabaseError as error:
        if len(settlements) > 1:
            return sum(end([settlement]) for settlement in settlements)
        logger.error("record %s cannot be ended (%s)", settlements[0].id, error)
        return 0


def _end(settlements: Sequence[Settlement]) -> None:
    ends = msgspec.json.encode(sorted(settlements, key=lambda settlement: settlement.id)).decode()
    with transaction.atomic(), connection.cursor() as cursor:
        for name, value in PLANS.items():
            cursor.execute("SELECT set_config(%s, %s, true)", [name, value])
        cursor.execute("SELECT billing_end_exactly(%s::json)", [ends])


def close(silent_seconds: float) -> None:
    """Lost processes that have nothing open any more count as stopped; those stopped for a week are forgotten."""
    with connection.cursor() as cursor:
        cursor.execute(STOP, {"silent": silent_seconds})
        cursor.execute(FORGET, [DAYS_KEPT])
