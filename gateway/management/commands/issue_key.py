"""`manage.py issue_key`: a new API key, shown this one time."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from django.db import transaction
from django.utils import timezone

from accounts.models import APIKey, Organization, Project
from gateway.management.admin_command import AdminCommand
from gateway.management.arguments import moment, names
from gateway.management.table import details


class Command(AdminCommand):
    help = "Issues an API key and prints it. It is stored nowhere: copy it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--organization", required=True, metavar="NAME")
        parser.add_argument("--project", required=True, metavar="NAME", help="the project within the organization")
        parser.add_argument("--name", required=True, help="what people will know the key by")
        parser.add_argument("--expires", type=moment, metavar="DATE", help="ISO date or time, UTC (default: never)")
        parser.add_argument(
            "--models", type=names, default=[], metavar="'gpt-*,o3-pro'", help="all it may use (default: every model)"
        )
        parser.add_argument("--create", action="store_true", help="make organization and project where missing")

    def handle(self, *args: Any, **options: Any) -> None:
        expires_at = options["expires"]
        if expires_at and expires_at <= timezone.now():
            raise CommandError(f"--expires {expires_at:%Y-%m-%d %H:%M} is not in the future: choose a later time.")
        with transaction.atomic():
            project = self._project(options["organization"], options["project"], create=options["create"])
            key, secret = APIKey.objects.issue(
                project=project, name=options["name"], expires_at=expires_at, allowed_models=options["models"]
            )
        self.answer(self._payload(key, secret), self._text(key, secret))

    def _project(self, organization_name: str, name: str, *, create: bool) -> Project:
        organization = Organization.objects.filter(name=organization_name).first()
        if organization is None:
            if not create:
                raise CommandError(f"There is no organization {organization_name!r}: add --create to make it.")
            organization = Organization(name=organization_name)
            organization.full_clean()
            organization.save()
        project = Project.objects.filter(organization=organization, name=name).first()
        if project is None:
            if not create:
                raise CommandError(f"{organization_name!r} has no project {name!r}: add --create to make it.")
            project = Project(organization=organization, name=name)
            project.full_clean()
            project.save()
        return project

    def _payload(self, key: APIKey, secret: str) -> dict[str, Any]:
        return {
            "id": key.id, "key": secret, "hint": key.hint, "name": key.name,
            "organization": key.project.organization.name, "project": key.project.name,
            "expires_at": key.expires_at, "models": key.allowed_models,
        }  # fmt: skip

    def _text(self, key: APIKey, secret: str) -> str:
        rows = [
            ("id", key.id),
            ("key", secret),
            ("expires", f"{key.expires_at:%Y-%m-%d %H:%M %Z}" if key.expires_at else "never"),
            ("models", ", ".join(key.allowed_models) or "every model"),
        ]
        return f"Issued {key.name!r} for {key.project}:\n{details(rows)}\nCopy the key now: it cannot be shown again."
