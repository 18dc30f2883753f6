from django.db import migrations, models

from accounts.sql import load


class Migration(migrations.Migration):
    dependencies = [("gateway", "0004_upstream_of_one_tenant")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    "ALTER TABLE gateway_responseowner DROP CONSTRAINT gateway_responseowner_pkey, "
                    "ADD PRIMARY KEY (response_id, upstream_id);",
                    "ALTER TABLE gateway_responseowner DROP CONSTRAINT gateway_responseowner_pkey, "
                    "ADD PRIMARY KEY (response_id);",
                )
            ],
            state_operations=[
                migrations.DeleteModel(name="ResponseOwner"),
                migrations.CreateModel(
                    name="ResponseOwner",
                    fields=[
                        (
                            "pk",
                            models.CompositePrimaryKey(
                                "response_id",
                                "upstream_id",
                                blank=True,
                                editable=False,
                                primary_key=True,
                                serialize=False,
                            ),
                        ),
                        ("response_id", models.TextField()),
                        ("organization_id", models.UUIDField()),
                        ("project_id", models.UUIDField()),
                        ("upstream_id", models.UUIDField()),
                        ("record_id", models.UUIDField(help_text="The request that made it.")),
                        ("created_at", models.DateTimeField()),
                        ("deleted_at", models.DateTimeField(null=True)),
                    ],
                ),
            ],
        ),
        load("gateway/ownership.sql"),
    ]
