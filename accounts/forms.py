"""Forms of the admin for organizations and keys."""

# mypy: disable-error-code="type-arg"
# (Django's form classes are generic in their stubs alone.)

import uuid
import zoneinfo
from typing import Any

from django import forms
from django.contrib.postgres.forms import SimpleArrayField
from django.core.exceptions import ValidationError
from django.utils import timezone

from accounts.models import APIKey, Organization, User, validate_network

ENDPOINTS = [("responses", "responses: POST /v1/responses"), ("models", "models: GET /v1/models")]
ALREADY_ISSUED = (
    "This form has issued its key already, and the secret cannot be shown again. "
    "Rotate that key if its secret was not kept, or open this page anew for another key."
)


class OrganizationForm(forms.ModelForm):
    time_zone = forms.ChoiceField(
        choices=lambda: [(name, name) for name in sorted(zoneinfo.available_timezones())],
        initial="UTC", help_text="Whose midnight its days and months begin at.",
    )  # fmt: skip

    class Meta:
        model = Organization
        fields = ["name", "time_zone", "suspended_at"]


class KeyForm(forms.ModelForm):
    """What of a key may be changed later."""

    allowed_endpoints = forms.MultipleChoiceField(
        choices=ENDPOINTS, required=False, widget=forms.CheckboxSelectMultiple,
        help_text="None chosen allows every endpoint.",
    )  # fmt: skip
    allowed_networks = SimpleArrayField(  # checked here as in the model: of the model's reason the form shows none
        forms.CharField(max_length=64, validators=[validate_network]), required=False,
        help_text=APIKey._meta.get_field("allowed_networks").help_text,
    )  # fmt: skip

    class Meta:
        model = APIKey
        fields = [
            "project", "name", "expires_at", "allowed_models", "allowed_endpoints", "allowed_networks", "tags",
        ]  # fmt: skip


class IssueForm(KeyForm):
    """A new key. The form carries the id that the key will have, so that sent twice it issues one key."""

    issue_id = forms.UUIDField(initial=uuid.uuid4, widget=forms.HiddenInput)

    def clean_expires_at(self) -> Any:
        expires_at = self.cleaned_data["expires_at"]
        if expires_at is not None and expires_at <= timezone.now():
            raise ValidationError("That is past. Choose a later time, or leave it empty for a key without an end.")
        return expires_at

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if "issue_id" in cleaned and APIKey.objects.filter(pk=cleaned["issue_id"]).exists():
            raise ValidationError(ALREADY_ISSUED)
        return cleaned

    def issue(self, created_by: User) -> tuple[APIKey, str]:
        """The key and its secret. IntegrityError when the same form issued it at the same moment."""
        fields = dict(self.cleaned_data)
        return APIKey.objects.issue(id=fields.pop("issue_id"), created_by=created_by, **fields)
