import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0002_revision_triggers")]

    operations = [
        migrations.AlterField(
            model_name="apikey",
            name="allowed_endpoints",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=64), blank=True, default=list, size=None,
                help_text="Any of responses, responses.read, models. Empty allows every endpoint.",
            ),
        )
    ]  # fmt: skip
