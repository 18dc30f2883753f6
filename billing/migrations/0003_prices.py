import django.db.models.deletion
from django.db import migrations, models

from accounts.sql import raise_revision_on_change


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0002_functions_and_triggers"),
    ]

    operations = [
        migrations.AddField(
            model_name="price",
            name="reasoning_pico_usd",
            field=models.PositiveBigIntegerField(blank=True, help_text="Empty: as output.", null=True),
        ),
        migrations.CreateModel(
            name="PriceVariant",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("input_pico_usd", models.PositiveBigIntegerField()),
                ("cached_input_pico_usd", models.PositiveBigIntegerField()),
                ("cache_write_pico_usd", models.PositiveBigIntegerField()),
                ("output_pico_usd", models.PositiveBigIntegerField()),
                (
                    "reasoning_pico_usd",
                    models.PositiveBigIntegerField(blank=True, help_text="Empty: as output.", null=True),
                ),
                (
                    "service_tier",
                    models.CharField(default="default", help_text="As served: flex, priority, ...", max_length=32),
                ),
                ("above_input_tokens", models.PositiveIntegerField(default=0)),
                (
                    "price",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="variants", to="billing.price"
                    ),
                ),
            ],
            options={
                "ordering": ["service_tier", "above_input_tokens"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("price", "service_tier", "above_input_tokens"), name="one_variant_of_a_price"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="ToolPrice",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("tool", models.CharField(help_text="web_search, file_search, container, ...", max_length=64)),
                ("pico_usd", models.PositiveBigIntegerField(help_text="A call.")),
                (
                    "price",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="tools", to="billing.price"
                    ),
                ),
            ],
            options={
                "ordering": ["tool"],
                "constraints": [models.UniqueConstraint(fields=("price", "tool"), name="one_price_of_a_tool")],
            },
        ),
        raise_revision_on_change("billing_pricevariant"),
        raise_revision_on_change("billing_toolprice"),
    ]
