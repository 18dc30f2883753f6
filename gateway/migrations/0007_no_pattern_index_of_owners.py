from django.db import migrations

# Made for a primary key of text, which it no longer is alone: nobody searches ids by their beginning, and every stored
# answer wrote into it.
GONE = "DROP INDEX IF EXISTS gateway_responseowner_response_id_4db2c078_like"


class Migration(migrations.Migration):
    dependencies = [("gateway", "0006_owning_in_fewer_steps")]
    operations = [migrations.RunSQL(GONE, migrations.RunSQL.noop)]
