from django.db import migrations

from accounts.sql import load


class Migration(migrations.Migration):
    dependencies = [("accounts", "0004_project_policy")]

    operations = [load("accounts/tenancy.sql")]
