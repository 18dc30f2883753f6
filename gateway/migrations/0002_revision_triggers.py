from django.db import migrations

from accounts.sql import raise_revision_on_change


class Migration(migrations.Migration):
    dependencies = [("gateway", "0001_initial"), ("accounts", "0002_revision_triggers")]

    operations = [
        raise_revision_on_change("gateway_upstream"),
        raise_revision_on_change("gateway_model"),
        raise_revision_on_change("gateway_route"),
    ]
