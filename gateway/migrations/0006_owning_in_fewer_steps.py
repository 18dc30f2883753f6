from django.db import migrations

from accounts.sql import load


class Migration(migrations.Migration):
    dependencies = [("gateway", "0005_owners_by_upstream")]
    operations = [load("gateway/ownership.sql")]
