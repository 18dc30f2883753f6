"""The gateway processes, by their heartbeats."""

from django.db import models
from django.db.models.functions import Now


class Process(models.Model):
    """A gateway process, alive as long as its heartbeat is young."""

    id = models.UUIDField(primary_key=True)
    host_id = models.UUIDField(help_text="The host, by the id kept in its SPOOL_DIR.")
    started_at = models.DateTimeField(db_default=Now())
    heartbeat_at = models.DateTimeField(db_default=Now())
    stopped_at = models.DateTimeField(null=True, help_text="When nothing of it was left open.")
    looked_at = models.DateTimeField(null=True, help_text="When the reaper last looked,")
    seen_heartbeat_at = models.DateTimeField(null=True, help_text="which heartbeat it saw,")
    silent_seconds = models.FloatField(default=0, db_default=0, help_text="and for how long it has been that one.")

    class Meta:
        verbose_name_plural = "processes"
        ordering = ["-started_at"]

    def __str__(self) -> str:
        return str(self.id)
