"""The form a price is set with: USD per million tokens, as providers write it; kept exactly."""

# mypy: disable-error-code="type-arg"
# (Django's form classes are generic in their stubs alone.)

from typing import Any

from django import forms
from django.utils import timezone

from billing.models import Price
from billing.pricing import pico_per_token

KINDS = ("input", "cached_input", "cache_write", "output")


def usd_field(label: str, help_text: str = "") -> forms.DecimalField:
    return forms.DecimalField(label=label, min_value=0, max_digits=12, decimal_places=6, help_text=help_text)


class PriceForm(forms.ModelForm):
    effective_from = forms.SplitDateTimeField(initial=timezone.now)
    input = usd_field("Input", "USD per million tokens, as all four.")
    cached_input = usd_field("Cached input")
    cache_write = usd_field("Cache write", "Where the provider has no price of its own for it: that of the input.")
    output = usd_field("Output", "Reasoning tokens are output.")

    class Meta:
        model = Price
        fields = ["model", "effective_from"]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        for kind in KINDS:
            if kind in cleaned:
                setattr(self.instance, f"{kind}_pico_usd", pico_per_token(cleaned[kind]))
        return cleaned
