"""The forms that quotas, grants and refunds are made with. Amounts are as people write them; kept exactly."""

# mypy: disable-error-code="type-arg"
# (Django's form classes are generic in their stubs alone.)

import uuid
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from billing.books import quotas
from billing.books.amounts import limit_of, nano_usd, written
from billing.books.ledger import GIVEN
from billing.models import LedgerEntry, Quota


class QuotaForm(forms.ModelForm):
    """A new quota; of one that is there, only the limit is asked for."""

    limit = forms.CharField(help_text="USD for cost, e.g. 25 or 0.50; else a whole number.")

    class Meta:
        model = Quota
        fields = ["organization", "project", "api_key", "metric", "period", "is_hard"]

    def get_initial_for_field(self, field: forms.Field, field_name: str) -> Any:
        if field_name == "limit" and self.instance.limit_amount is not None:
            return written(self.instance.metric, self.instance.limit_amount)
        return super().get_initial_for_field(field, field_name)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        metric = cleaned.get("metric") or self.instance.metric
        if metric and "limit" in cleaned:
            try:
                cleaned["amount"] = limit_of(metric, cleaned["limit"])
            except ValueError as error:
                self.add_error("limit", str(error))
        if "organization" in self.fields:
            self._clean_scope(cleaned)
        return cleaned

    def _clean_scope(self, cleaned: dict[str, Any]) -> None:
        chosen = [cleaned[name] for name in ("organization", "project", "api_key") if cleaned.get(name)]
        if len(chosen) != 1:
            raise ValidationError("Choose one of organization, project and key: what the quota is on.")
        (cleaned["scope"],) = chosen
        cleaned |= quotas.place(cleaned["scope"])
        if "metric" in cleaned and "period" in cleaned:
            there = quotas.find(cleaned["scope"], cleaned["metric"], cleaned["period"])
            if there is not None:
                raise ValidationError(f"There is a quota of that kind, {there}: change its limit, or retire it first.")


class GiftForm(forms.ModelForm):
    """A grant or a refund. The form carries the id that the posting will have, so that sent twice it is booked once."""

    kind = forms.ChoiceField(
        choices=[(kind, kind.label) for kind in GIVEN],
        help_text="A grant is paid in, a refund gives back what was charged. The first grant makes it prepaid.",
    )
    amount = forms.CharField(help_text="USD, e.g. 25 or 0.50.")
    reason = forms.CharField(widget=forms.Textarea(attrs={"rows": 2}), help_text="Kept in the ledger.")
    gift_id = forms.UUIDField(initial=uuid.uuid4, widget=forms.HiddenInput)

    class Meta:
        model = LedgerEntry
        fields = ["organization", "kind", "reason"]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if "amount" in cleaned:
            try:
                cleaned["nano_usd"] = nano_usd(cleaned["amount"])
            except ValueError as error:
                self.add_error("amount", str(error))
            else:
                if not cleaned["nano_usd"]:
                    self.add_error("amount", "Give an amount above 0.")
        return cleaned
