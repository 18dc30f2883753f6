from django.db import migrations

from accounts.sql import load, raise_revision_on_change


class Migration(migrations.Migration):
    dependencies = [("billing", "0001_initial"), ("accounts", "0002_revision_triggers")]

    operations = [
        load("billing/sql/quotas.sql"),
        load("billing/sql/metering.sql"),
        load("billing/sql/processes.sql"),
        load("billing/sql/posting.sql"),
        load("billing/sql/rollups.sql"),
        load("billing/sql/ledger.sql"),
        raise_revision_on_change("billing_price"),
        # Not each time that a window is opened: what a gateway knows of quotas is which there are.
        raise_revision_on_change("billing_quota", "is_hard", "retired_at"),
    ]
