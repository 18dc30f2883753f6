import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("gateway", "0003_response_owner"), ("accounts", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="upstream",
            name="organization",
            field=models.ForeignKey(
                blank=True,
                help_text="Whose it is alone: no other organization is routed here. Empty: shared between all tenants.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="upstreams",
                to="accounts.organization",
            ),
        ),
        migrations.AddField(
            model_name="upstream",
            name="namespace_prompt_cache",
            field=models.BooleanField(
                default=False,
                help_text="Tell the prompt_cache_key of one organization apart from another's, so that none can find out by timing what another has sent. Requests without a key get one.",
            ),
        ),
    ]
