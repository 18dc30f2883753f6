from django.db import migrations

from accounts.sql import load

GONE = """
DROP FUNCTION IF EXISTS billing_write(json, json), billing_write_ends(json), billing_write_holds(json),
    billing_write_windows(bigint[], bigint[], bigint[], bigint[], bigint[])
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0005_batches_in_steps")]

    operations = [
        load("billing/sql/items.sql"),
        migrations.RunSQL(GONE, migrations.RunSQL.noop),
        load("billing/sql/metering.sql"),
        load("billing/sql/batches.sql"),
        load("billing/sql/lost_holds.sql"),
    ]
