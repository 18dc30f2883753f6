"""Who: people, organizations (tenants), their projects and API keys."""

import uuid
import zoneinfo
from datetime import datetime, timedelta
from ipaddress import ip_network
from typing import Self

from django.contrib.auth.models import AbstractUser
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.utils import timezone

from accounts import keys
from accounts.peppers import current_pepper
from accounts.policy import DEFAULT_SERVICE_TIERS, DEFAULT_TOOLS, SERVICE_TIERS, TOOLS


def validate_time_zone(name: str) -> None:
    if name not in zoneinfo.available_timezones():
        raise ValidationError(f"{name!r} is no time zone. Use a name such as UTC or Europe/Berlin.")


def validate_network(text: str) -> None:
    try:
        ip_network(text)
    except ValueError as error:
        raise ValidationError(f"{text!r} is no address or CIDR block: {error}.") from error


class User(AbstractUser):
    """A person who signs in: staff by Django's flag, else a member of organizations."""


class OrganizationQuerySet(models.QuerySet["Organization"]):
    def visible_to(self, user: User) -> Self:
        """Staff see every organization, members their own."""
        return self if user.is_staff else self.filter(memberships__user=user)


class Organization(models.Model):
    """A tenant. Nothing of one organization is reachable from another."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=200, unique=True)
    time_zone = models.CharField(max_length=64, default="UTC", validators=[validate_time_zone])
    suspended_at = models.DateTimeField(null=True, blank=True, help_text="While set, every key of it is refused.")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = OrganizationQuerySet.as_manager()

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    """A person's role in an organization."""

    class Role(models.TextChoices):
        OWNER = "owner"
        ADMIN = "admin"
        BILLING = "billing"
        VIEWER = "viewer"

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=Role, default=Role.VIEWER)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "organization"], name="one_role_in_an_organization")]

    def __str__(self) -> str:
        return f"{self.user} as {self.role} of {self.organization}"


def default_service_tiers() -> list[str]:
    return list(DEFAULT_SERVICE_TIERS)


def default_tools() -> list[str]:
    return list(DEFAULT_TOOLS)


class Project(models.Model):
    """What an organization's keys and usage are grouped by, and what their requests may ask for (docs/policy.md)."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="projects")
    name = models.CharField(max_length=200)
    suspended_at = models.DateTimeField(null=True, blank=True, help_text="While set, every key of it is refused.")
    allowed_service_tiers = ArrayField(
        models.CharField(max_length=32, choices=SERVICE_TIERS), default=default_service_tiers, blank=True,
        help_text="A request that names no tier is always allowed.",
    )  # fmt: skip
    allowed_tools = ArrayField(
        models.CharField(max_length=32, choices=TOOLS), default=default_tools, blank=True,
        help_text="Tools that run upstream. Functions and what else runs at the client are always allowed.",
    )  # fmt: skip
    allows_store = models.BooleanField(
        "answers may be stored upstream", default=True,
        help_text="If not, store: true is refused, and a request that says nothing goes upstream with store: false.",
    )  # fmt: skip
    allows_urls = models.BooleanField(
        "images and files by URL", default=True,
        help_text="The upstream fetches them. Not for an upstream that reaches what tenants must not.",
    )  # fmt: skip
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["organization__name", "name"]
        constraints = [models.UniqueConstraint(fields=["organization", "name"], name="project_name_in_organization")]

    def __str__(self) -> str:
        return f"{self.organization.name}/{self.name}"


class APIKeyQuerySet(models.QuerySet["APIKey"]):
    def usable(self, at: datetime | None = None) -> Self:
        """Keys that are neither revoked nor expired at that time; their project may still be suspended."""
        at = at or timezone.now()
        return self.exclude(revoked_at__lte=at).exclude(expires_at__lte=at)

    def visible_to(self, user: User) -> Self:
        return self if user.is_staff else self.filter(project__organization__memberships__user=user)

    def issue(self, *, project: Project, name: str, **fields: object) -> tuple["APIKey", str]:
        """A new key and, this one time, its secret. `fields`: expires_at, allowed_models, created_by, ..."""
        secret = keys.generate()
        version, pepper = current_pepper()
        key = self.model(project=project, name=name, **fields)
        key.hint, key.digest, key.pepper_version = keys.hint(secret), keys.digest(secret, pepper), version
        key.full_clean()
        key.save()
        return key, secret


class APIKey(models.Model):
    """What a tenant's client authenticates with. The secret itself is stored nowhere (accounts/keys.py)."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="api_keys")
    name = models.CharField(max_length=200)
    hint = models.CharField(max_length=32, editable=False)
    digest = models.BinaryField(unique=True, editable=False, max_length=32)
    pepper_version = models.PositiveSmallIntegerField(editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    allowed_models = ArrayField(
        models.CharField(max_length=200), default=list, blank=True,
        help_text="Names or patterns, e.g. gpt-*, o3-pro. Empty allows every model.",
    )  # fmt: skip
    allowed_endpoints = ArrayField(
        models.CharField(max_length=64), default=list, blank=True,
        help_text="Any of responses, responses.read, models. Empty allows every endpoint.",
    )  # fmt: skip
    allowed_networks = ArrayField(
        models.CharField(max_length=64, validators=[validate_network]), default=list, blank=True,
        help_text="Addresses or CIDR blocks, e.g. 192.0.2.0/24, 2001:db8::/32. Empty allows every address.",
    )  # fmt: skip
    tags = ArrayField(models.CharField(max_length=64), default=list, blank=True)
    replaces = models.ForeignKey(
        "self", null=True, blank=True, editable=False, on_delete=models.SET_NULL, related_name="replaced_by"
    )
    created_by = models.ForeignKey(User, null=True, blank=True, editable=False, on_delete=models.SET_NULL)
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_address = models.CharField(max_length=64, blank=True, editable=False)
    last_used_agent = models.CharField(max_length=200, blank=True, editable=False)

    objects = APIKeyQuerySet.as_manager()

    class Meta:
        verbose_name = "API key"
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.name} ({self.hint})"

    def revoke(self) -> bool:
        """Refuse the key from now on; False when it was revoked before. Settled by the row, not by what was read."""
        revoked = APIKey.objects.filter(pk=self.pk, revoked_at=None).update(revoked_at=timezone.now())
        return revoked == 1

    def rotate(self, *, grace: timedelta, created_by: User | None = None) -> tuple["APIKey", str]:
        """A new key of the same rights and its secret; this one goes on for `grace`, unless it ends before."""
        ends_at = timezone.now() + grace
        with transaction.atomic():
            successor = APIKey.objects.issue(
                project=self.project, name=self.name, expires_at=self.expires_at, allowed_models=self.allowed_models,
                allowed_endpoints=self.allowed_endpoints, allowed_networks=self.allowed_networks, tags=self.tags,
                replaces=self, created_by=created_by,
            )  # fmt: skip
            not_sooner = models.Q(expires_at=None) | models.Q(expires_at__gt=ends_at)
            APIKey.objects.filter(not_sooner, pk=self.pk).update(expires_at=ends_at)
        return successor


class Revision(models.Model):
    """One row, raised by statement triggers in the transaction of every change that gateway processes cache.

    A process reads it first and the data after, so that what it caches is at least as new as the number it caches
    under. A sequence or a timestamp would be visible before the change it stands for.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    value = models.PositiveBigIntegerField(default=1)

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="one_revision")]

    def __str__(self) -> str:
        return str(self.value)
