"""`manage.py revoke_key`: an API key that is refused from now on."""

from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError

from accounts.models import APIKey
from gateway.management.admin_command import AdminCommand
from gateway.redaction import redacted


class Command(AdminCommand):
    help = "Revokes an API key by its id; every process refuses it within two seconds. May be repeated."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("id", help="the key's id, as issue_key and the admin show it; not the key itself")

    def handle(self, *args: Any, **options: Any) -> None:
        key = self._key(options["id"])
        revoked_now = key.revoke()
        key.refresh_from_db()
        payload = {
            "id": key.id, "name": key.name, "hint": key.hint,
            "revoked_at": key.revoked_at, "revoked_before": not revoked_now,
        }  # fmt: skip
        said = "is revoked" if revoked_now else "was revoked before"
        self.answer(payload, f"{key} of {key.project} {said}: {key.revoked_at:%Y-%m-%d %H:%M:%S %Z}.")

    def _key(self, text: str) -> APIKey:
        try:
            return APIKey.objects.select_related("project__organization").get(id=UUID(text))
        except (ValueError, APIKey.DoesNotExist):
            raise CommandError(f"No key has the id {redacted(text)!r}: the admin lists keys with their ids.") from None
