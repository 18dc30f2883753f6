"""Tenants and people as rows."""

from accounts.models import APIKey, Membership, Organization, Project, User


def issued_key(organization="acme", project="website", name="laptop", **fields):
    """A key and its secret, in an organization and project made where missing."""
    tenant, _ = Organization.objects.get_or_create(name=organization)
    home, _ = Project.objects.get_or_create(organization=tenant, name=project)
    return APIKey.objects.issue(project=home, name=name, **fields)


def person(name, *, organization=None, **fields):
    """A user, a member of that organization if one is named."""
    user = User.objects.create_user(name, **fields)
    if organization:
        tenant, _ = Organization.objects.get_or_create(name=organization)
        Membership.objects.create(user=user, organization=tenant)
    return user
