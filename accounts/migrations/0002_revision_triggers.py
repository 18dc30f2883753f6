from django.db import migrations

from accounts.sql import load, raise_revision_on_change


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial")]

    operations = [
        load("accounts/revision.sql"),
        raise_revision_on_change("accounts_organization"),
        raise_revision_on_change("accounts_project"),
        # All but when and from where it was last used, which gateway processes write all the time.
        raise_revision_on_change(
            "accounts_apikey", "project_id", "name", "digest", "expires_at", "revoked_at",
            "allowed_models", "allowed_endpoints", "allowed_networks",
        ),
    ]  # fmt: skip
