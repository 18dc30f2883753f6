from django.db import migrations

from accounts.sql import load


class Migration(migrations.Migration):
    dependencies = [("billing", "0003_prices")]

    operations = [load("billing/sql/lost_holds.sql")]
