"""The way through: upstreams, the models they serve, and which upstream serves which model."""

import uuid

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.core.exceptions import ValidationError
from django.db import models

from accounts.models import Organization
from gateway import sealing
from gateway.addresses import ForbiddenAddress, origin_of


class Endpoint(models.TextChoices):
    """What a model can be served on: the columns of the compatibility table."""

    RESPONSES = "responses", "POST /v1/responses"


def default_endpoints() -> list[str]:
    return [Endpoint.RESPONSES.value]


class Upstream(models.Model):
    """An account at a provider: where its API is and the key that opens it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=200, unique=True)
    base_url = models.CharField(max_length=500, help_text="With the version, e.g. https://api.openai.com/v1")
    sealed_key = models.BinaryField(null=True, blank=True, editable=False)
    allow_private = models.BooleanField(default=False, help_text="Allow plain http and private or loopback addresses.")
    organization = models.ForeignKey(
        Organization, on_delete=models.PROTECT, null=True, blank=True, related_name="upstreams",
        help_text="Whose it is alone: no other organization is routed here. Empty: shared between all tenants.",
    )  # fmt: skip
    namespace_prompt_cache = models.BooleanField(
        default=False,
        help_text="Tell the prompt_cache_key of one organization apart from another's, so that none can find out by "
        "timing what another has sent. Requests without a key get one.",
    )
    disabled_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        self.base_url = self.base_url.rstrip("/")
        try:
            origin_of(self.base_url, allow_private=self.allow_private)
        except ForbiddenAddress as error:
            raise ValidationError({"base_url": str(error)}) from error

    def seal_key(self, secret: str) -> None:
        """Keep the provider's key, readable only with the sealing key and only in this row."""
        self.sealed_key = sealing.seal(secret.encode(), self.sealing_context)

    @property
    def sealing_context(self) -> bytes:
        """What binds the sealed key to this row: moved to another one it does not open."""
        return f"gateway_upstream:{self.id}".encode()


class Model(models.Model):
    """A model name, or a pattern that serves every name it matches, and where it may be called: the table of models."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=200, unique=True, help_text="A name, or a pattern such as gpt-*.")
    endpoints = ArrayField(models.CharField(max_length=64, choices=Endpoint), default=default_endpoints)
    context_window = models.PositiveIntegerField(default=400_000, help_text="Tokens, input and output together.")
    max_output_tokens = models.PositiveIntegerField(default=128_000)
    disabled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Route(models.Model):
    """An upstream that serves a model. The usable route with the lowest position is taken."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    model = models.ForeignKey(Model, on_delete=models.CASCADE, related_name="routes")
    upstream = models.ForeignKey(Upstream, on_delete=models.CASCADE, related_name="routes")
    upstream_model = models.CharField(max_length=200, blank=True, help_text="Its name there; empty: the same.")
    position = models.PositiveSmallIntegerField(default=0)

    class Meta:
        ordering = ["model__name", "position"]
        constraints = [
            models.UniqueConstraint(fields=["model", "upstream"], name="one_route_of_a_model_to_an_upstream")
        ]

    def __str__(self) -> str:
        return f"{self.model} -> {self.upstream}"


class ResponseOwner(models.Model):
    """Whose a stored response is, and which upstream has it. Written by gateway/ownership.sql alone; never changed but
    for `deleted_at`: an id of an upstream keeps its first owner.
    """

    pk = models.CompositePrimaryKey("response_id", "upstream_id")
    response_id = models.TextField()
    organization_id = models.UUIDField()
    project_id = models.UUIDField()
    upstream_id = models.UUIDField()
    record_id = models.UUIDField(help_text="The request that made it.")
    created_at = models.DateTimeField()
    deleted_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return self.response_id


class Issued(models.Model):
    """What one answer gave away that a later request may name: digests of item ids, encrypted contents, containers."""

    record_id = models.UUIDField(primary_key=True)
    organization_id = models.UUIDField()
    project_id = models.UUIDField()
    upstream_id = models.UUIDField()
    digests = ArrayField(models.BigIntegerField())

    class Meta:
        # Without a list of what is not in the index yet, which every look-up would have to go through.
        indexes = [GinIndex(fields=["digests"], fastupdate=False, name="gateway_issued_digests")]

    def __str__(self) -> str:
        return str(self.record_id)
