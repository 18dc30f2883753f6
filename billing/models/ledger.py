"""Double entry: what was granted, charged, adjusted and refunded."""

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from accounts.models import Organization


class LedgerEntry(models.Model):
    """One side of a posting. The entries of a posting sum to zero; none is ever changed or deleted (triggers)."""

    class Account(models.TextChoices):
        ORGANIZATION = "organization", "what an organization has"
        REVENUE = "revenue", "what was earned"
        FUNDS = "funds", "what was paid in"

    class Kind(models.TextChoices):
        GRANT = "grant"
        CHARGE = "charge"
        ADJUSTMENT = "adjustment"
        REFUND = "refund"

    posting_id = models.UUIDField()
    kind = models.CharField(max_length=16, choices=Kind)
    account = models.CharField(max_length=16, choices=Account)
    organization = models.ForeignKey(Organization, models.PROTECT)
    hour = models.DateTimeField(null=True, help_text="Charges, adjustments: the bucket whose records it sums up.")
    amount_nano_usd = models.BigIntegerField()
    reason = models.TextField(blank=True)
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name_plural = "ledger entries"
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["posting_id", "account"], name="one_side_of_an_account")]

    def __str__(self) -> str:
        return f"{self.kind} {self.amount_nano_usd} nano-USD on {self.account}"
