"""Celery's beat, which keeps nothing: what it forgets when it ends, the schedule says again.

Celery's own keeps a file of dbm's, of which each platform and Python has another kind; some break when beat is killed
as it writes, and a broken one keeps beat from ever starting again.
"""

from celery.beat import Scheduler as MemoryScheduler
from django.conf import settings


class Scheduler(MemoryScheduler):  # type: ignore[misc]  # celery has no types
    """Touches `BEAT_SIGN` every three minutes: Compose's sign that it goes on."""

    def sync(self) -> None:
        settings.BEAT_SIGN.touch()
