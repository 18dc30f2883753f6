"""From ended records to hourly rollups and ledger entries (posting.sql), and the partitions they live in."""

from django.db import connection

from billing import faults

BATCH = 5000
MONTHS_AHEAD = 3


def post_settled() -> int:
    """Posts what has ended and is not posted yet; returns how many records. May run anywhere, at once, and die."""
    total = 0
    while posted := _number("SELECT billing_post_settled(%s)", BATCH):
        faults.reach("post.after")
        total += posted
    return total


def make_partitions() -> int:
    """Makes the partitions of this month and the next three where they are missing; returns how many."""
    return _number("SELECT billing_make_partitions(%s)", MONTHS_AHEAD)


def _number(query: str, argument: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute(query, [argument])
        (number,) = cursor.fetchone()
        return int(number)
