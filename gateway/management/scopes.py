"""Organizations, projects and keys as they are named on a command line."""

from uuid import UUID

from django.core.management.base import CommandError
from django.db.models import Q

from accounts.models import APIKey, Organization, Project
from gateway.redaction import redacted


def organization_named(name: str) -> Organization:
    organization = Organization.objects.filter(name=name).first()
    if organization is None:
        raise CommandError(f"There is no organization {name!r}: the admin lists them.")
    return organization


def project_named(text: str) -> Project:
    """By `ORGANIZATION/NAME`; both may have slashes of their own."""
    words = text.split("/")
    for number in range(1, len(words)):
        organization, name = "/".join(words[:number]), "/".join(words[number:])
        project = Project.objects.select_related("organization").filter(organization__name=organization, name=name)
        if found := project.first():
            return found
    raise CommandError(f"There is no project {text!r}: name it as ORGANIZATION/NAME; the admin lists them.")


def key_known_as(text: str) -> APIKey:
    """By id, or by a name or hint that no other usable key has."""
    keys = APIKey.objects.select_related("project__organization")
    try:
        known = keys.filter(id=UUID(text))
    except ValueError:
        known = keys.usable().filter(Q(name=text) | Q(hint=text))
    found = list(known[:2])
    if len(found) == 1:
        return found[0]
    if found:
        raise CommandError(f"Several keys are called {redacted(text)!r}: use the id, which the admin shows.")
    raise CommandError(
        f"No key has the id, name or hint {redacted(text)!r}: the admin lists keys with all three; not the key itself."
    )
