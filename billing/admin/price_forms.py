"""The form a price is set with: USD per million tokens, as providers write it; kept exactly."""

# mypy: disable-error-code="type-arg"
# (Django's form classes are generic in their stubs alone.)

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from django import forms
from django.utils import timezone

from billing.models import Price, PriceVariant, ToolPrice
from billing.prices.price_change import leaps
from billing.prices.pricing import TOKEN_KINDS, PriceSheet, pico_per_call, pico_per_token


def usd_field(label: str, help_text: str = "", *, required: bool = True) -> forms.DecimalField:
    return forms.DecimalField(
        label=label, min_value=0, max_digits=12, decimal_places=6, help_text=help_text, required=required
    )


class TokenPricesForm(forms.ModelForm):
    """What a price and its variants have in common."""

    input = usd_field("Input", "USD per million tokens, as all of them.")
    cached_input = usd_field("Cached input")
    cache_write = usd_field("Cache write", "Where the provider has no price of its own for it: that of the input.")
    output = usd_field("Output")
    reasoning = usd_field("Reasoning", "Where it is priced apart; else empty, and it is output.", required=False)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        _take(self, {f"{kind}_pico_usd": cleaned.get(kind) for kind in TOKEN_KINDS}, pico_per_token)
        return cleaned


class VariantForm(TokenPricesForm):
    class Meta:
        model = PriceVariant
        fields = ["service_tier", "above_input_tokens"]

    def clean_service_tier(self) -> str:
        return str(self.cleaned_data["service_tier"]).lower()


class ToolForm(forms.ModelForm):
    usd = usd_field("", "Of a container: per 1,000 sessions.")

    class Meta:
        model = ToolPrice
        fields = ["tool"]
        labels = {"usd": "USD per 1,000 calls"}  # here, for the admin looks for the heads of its columns here alone

    def clean_tool(self) -> str:
        """Its name; the type of its items, which has `_call` behind it, is understood too."""
        return str(self.cleaned_data["tool"]).lower().removesuffix("_call")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        _take(self, {"pico_usd": cleaned.get("usd")}, pico_per_call)
        return cleaned


VARIANTS = forms.inlineformset_factory(Price, PriceVariant, form=VariantForm)
TOOLS = forms.inlineformset_factory(Price, ToolPrice, form=ToolForm)


class PriceForm(TokenPricesForm):
    effective_from = forms.SplitDateTimeField(initial=timezone.now)
    confirm = forms.BooleanField(
        label="This is meant", required=False, widget=forms.HiddenInput, help_text="Saves the price all the same."
    )

    class Meta:
        model = Price
        fields = ["model", "effective_from"]

    def clean(self) -> dict[str, Any]:
        """Looks at the whole price, variants and tools with it, before anything of it is saved."""
        cleaned = super().clean()
        sheet = None if self.errors else self._entered()
        if sheet is not None:
            self._compare(sheet, cleaned)
        return cleaned

    def _entered(self) -> PriceSheet | None:
        """None where the variants or tools cannot be read: their own forms say why."""
        variants = VARIANTS(self.data, instance=Price(), prefix="variants")
        tools = TOOLS(self.data, instance=Price(), prefix="tools")
        if not (variants.is_valid() and tools.is_valid()):
            return None
        sheet = PriceSheet.of(
            self.instance.per_token,
            [(row.service_tier, row.above_input_tokens, row.per_token) for row in variants.save(commit=False)],
            {row.tool: row.pico_usd for row in tools.save(commit=False)},
        )
        try:
            return sheet.checked()
        except ValueError as error:
            self.add_error(None, str(error))
            return None

    def _compare(self, sheet: PriceSheet, cleaned: dict[str, Any]) -> None:
        before = Price.objects.before(cleaned["model"], cleaned["effective_from"])
        leaping = leaps(before.sheet, sheet) if before and not cleaned["confirm"] else ()
        if leaping:
            self.fields["confirm"].widget = forms.CheckboxInput()
            self.add_error("confirm", f"More than a fivefold change against {before}: {'; '.join(map(str, leaping))}.")


def _take(form: forms.ModelForm, entered: dict[str, Decimal | None], pico: Callable[[Decimal], int]) -> None:
    """Puts exact prices on the form's row; what could not be read is told by its field."""
    for column, usd in entered.items():
        if usd is None:
            continue
        setattr(form.instance, column, pico(usd))
