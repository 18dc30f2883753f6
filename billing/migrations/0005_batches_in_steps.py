import django.db.models.deletion
from django.db import migrations, models

from accounts.sql import load


class Migration(migrations.Migration):
    dependencies = [("billing", "0004_lost_holds")]

    operations = [
        migrations.AddIndex(
            model_name="quota",
            index=models.Index(
                fields=["organization", "scope_id"],
                condition=models.Q(retired_at=None),
                name="quota_in_force_of_organization",
            ),
        ),
        migrations.AlterField(
            model_name="quota",
            name="organization",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="quotas",
                to="accounts.organization",
            ),
        ),
        migrations.AlterField(
            model_name="quotawindow",
            name="quota",
            field=models.ForeignKey(
                db_constraint=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="windows",
                to="billing.quota",
            ),
        ),
        load("billing/sql/quotas.sql"),
        load("billing/sql/metering.sql"),
        load("billing/sql/batches.sql"),
        load("billing/sql/lost_holds.sql"),
    ]
