from django.db import migrations

from accounts.sql import load, raise_revision_on_change


class Migration(migrations.Migration):
    dependencies = [("billing", "0001_initial"), ("accounts", "0002_revision_triggers")]

    operations = [
        load("billing/quotas.sql"),
        load("billing/metering.sql"),
        load("billing/processes.sql"),
        load("billing/posting.sql"),
        load("billing/rollups.sql"),
        load("billing/ledger.sql"),
        raise_revision_on_change("billing_price"),
        # Not each time that a window is opened: what a gateway knows of quotas is which there are.
        raise_revision_on_change("billing_quota", "is_hard", "retired_at"),
    ]
