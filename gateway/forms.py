"""Forms of the admin for upstreams and models."""

# mypy: disable-error-code="type-arg"
# (Django's form classes are generic in their stubs alone.)

from typing import Any
from urllib.parse import urlsplit

from django import forms
from django.core.exceptions import ValidationError

from gateway.models import Endpoint, Model, Upstream
from gateway.redaction import NO_SECRET, is_secret


class UpstreamForm(forms.ModelForm):
    """The provider's key goes in and never comes out."""

    key = forms.CharField(
        label="API key", required=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password", "class": "vTextField"}),
        help_text="Kept sealed and never shown again. Empty leaves it as it is; a new host or scheme erases it.",
    )  # fmt: skip

    class Meta:
        model = Upstream
        fields = ["name", "base_url", "allow_private", "organization", "namespace_prompt_cache", "disabled_at"]
        labels = {
            "base_url": "Base URL",
            "allow_private": "Allow a private address",
            "organization": "Only for",
            "namespace_prompt_cache": "Keep prompt caches apart",
        }

    def clean_key(self) -> str:
        key = str(self.cleaned_data["key"])
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise ValidationError("A key has neither spaces nor characters beyond ASCII. Copy it anew.")
        if key and not is_secret(key):
            raise ValidationError(NO_SECRET)
        return key

    @property
    def has_moved(self) -> bool:
        """Whether the upstream is now somewhere else, where its key must not go."""
        was, now = urlsplit(self.initial.get("base_url", "")), urlsplit(self.instance.base_url)
        return bool(self.initial) and (was.scheme, was.netloc) != (now.scheme, now.netloc)

    def save(self, commit: bool = True) -> Any:
        if self.has_moved:
            self.instance.sealed_key = None
        if self.cleaned_data["key"]:
            self.instance.seal_key(self.cleaned_data["key"])
        return super().save(commit)


class ModelForm(forms.ModelForm):
    endpoints = forms.MultipleChoiceField(
        choices=Endpoint.choices, initial=[Endpoint.RESPONSES], widget=forms.CheckboxSelectMultiple
    )

    class Meta:
        model = Model
        fields = ["name", "endpoints", "context_window", "max_output_tokens", "disabled_at"]
