import django.contrib.postgres.fields
import django.contrib.postgres.indexes
import django.db.models.deletion
from django.db import migrations, models

from accounts.sql import load


class Migration(migrations.Migration):
    dependencies = [
        ("gateway", "0002_revision_triggers"),
        ("accounts", "0002_revision_triggers"),
        ("billing", "0002_functions_and_triggers"),
    ]

    operations = [
        migrations.CreateModel(
            name="ResponseOwner",
            fields=[
                ("response_id", models.TextField(primary_key=True, serialize=False)),
                ("organization_id", models.UUIDField()),
                ("project_id", models.UUIDField()),
                ("upstream_id", models.UUIDField()),
                ("record_id", models.UUIDField(help_text="The request that made it.")),
                ("created_at", models.DateTimeField()),
                ("deleted_at", models.DateTimeField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name="Issued",
            fields=[
                ("record_id", models.UUIDField(primary_key=True, serialize=False)),
                ("organization_id", models.UUIDField()),
                ("project_id", models.UUIDField()),
                ("upstream_id", models.UUIDField()),
                ("digests", django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), size=None)),
            ],
            options={
                "indexes": [
                    django.contrib.postgres.indexes.GinIndex(
                        fields=["digests"], fastupdate=False, name="gateway_issued_digests"
                    )
                ],
            },
        ),
        load("gateway/ownership.sql"),
    ]
