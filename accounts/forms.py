"""The forms that keys are issued and changed with."""

# mypy: disable-error-code="type-arg"
# (Django's form classes are generic in their stubs alone.)

import uuid
from typing import Any

from django import forms
from django.contrib.postgres.forms import SimpleArrayField
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.authentication import Scope
from accounts.models import APIKey, Project, User, validate_network
from accounts.policy import SERVICE_TIERS, TOOLS

ENDPOINTS = [
    (Scope.RESPONSES.value, "responses: make responses, count and compact their input, cancel and delete them"),
    (Scope.READ.value, "responses.read: read stored responses of the key's project"),
    (Scope.MODELS.value, "models: list the models"),
]


class AlreadyIssued(Exception):
    """The form has issued its key; its text says what to do."""

    def __str__(self) -> str:
        return (
            "This form has issued its key already, and the secret cannot be shown again. "
            "Rotate that key if its secret was not kept, or open this page anew for another key."
        )


class ProjectForm(forms.ModelForm):
    """A project, with what its requests may ask for."""

    allowed_service_tiers = forms.MultipleChoiceField(
        choices=list(SERVICE_TIERS.items()), required=False, widget=forms.CheckboxSelectMultiple,
        help_text=Project._meta.get_field("allowed_service_tiers").help_text,
    )  # fmt: skip
    allowed_tools = forms.MultipleChoiceField(
        choices=list(TOOLS.items()), required=False, widget=forms.CheckboxSelectMultiple,
        help_text=Project._meta.get_field("allowed_tools").help_text,
    )  # fmt: skip

    class Meta:
        model = Project
        fields = [
            "organization", "name", "suspended_at", "allowed_service_tiers", "allowed_tools", "allows_store",
            "allows_urls",
        ]  # fmt: skip


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

    def issue(self, created_by: User) -> tuple[APIKey, str]:
        """The key and its secret; AlreadyIssued when this form was sent before, be it at the same moment."""
        fields = dict(self.cleaned_data)
        key_id = fields.pop("issue_id")
        try:
            with transaction.atomic():
                return APIKey.objects.issue(id=key_id, created_by=created_by, **fields)
        except (ValidationError, IntegrityError) as error:
            if APIKey.objects.filter(pk=key_id).exists():
                raise AlreadyIssued from error
            raise
