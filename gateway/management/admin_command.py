"""What the commands for admins share: words for people or one JSON object, and errors that are one sentence."""

import json
import sys
from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

import psycopg
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.core.serializers.json import DjangoJSONEncoder
from django.db import InterfaceError, OperationalError, ProgrammingError


class AdminCommand(BaseCommand):
    """A subclass ends with `answer`, or raises CommandError (exit code 1) with a sentence that says what to do.

    Nothing but the answer goes to stdout, so that `--json` can be piped. Wrong arguments exit with 2.
    """

    requires_system_checks = ()
    from_command_line = False

    def run_from_argv(self, argv: list[str]) -> None:
        self.from_command_line = True
        super().run_from_argv(argv)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object, for machines")

    def execute(self, *args: Any, **options: Any) -> str | None:
        self.as_json = bool(options.get("json"))
        try:
            return self._execute(*args, **options)
        except CommandError as error:
            if options.get("traceback") or not self.from_command_line:
                raise
            self.stderr.write(str(error))  # Django would put the exception's name before it
            sys.exit(error.returncode)

    def answer(self, payload: Mapping[str, Any], text: str) -> None:
        """Prints `text`, or `payload` where JSON was asked for. UUIDs and datetimes in it are fine."""
        self.stdout.write(json.dumps(payload, cls=DjangoJSONEncoder, ensure_ascii=False) if self.as_json else text)
        self.stdout.flush()

    def _execute(self, *args: Any, **options: Any) -> str | None:
        """What may go wrong in any command, as CommandError."""
        try:
            return super().execute(*args, **options)
        except ValidationError as error:
            raise CommandError(_sentence(error)) from error
        except (OperationalError, InterfaceError) as error:
            raise CommandError(
                f"No database answers at {_place()} ({str(error).strip().splitlines()[0]}): "
                "start Tollgate with manage.py up, or set DATABASE_URL."
            ) from error
        except ProgrammingError as error:
            if not isinstance(error.__cause__, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedColumn):
                raise
            raise CommandError(
                f"The database at {_place()} lacks tables of this version: run manage.py migrate."
            ) from error


def _sentence(error: ValidationError) -> str:
    """Which fields are wrong and why."""
    if not hasattr(error, "error_dict"):
        return " ".join(error.messages)
    fields = error.message_dict.items()
    return " ".join(
        message if field == "__all__" else f"{field}: {message}" for field, messages in fields for message in messages
    )


def _place() -> str:
    """Where the database should be, without user and password."""
    database = settings.DATABASES["default"]
    host = database.get("OPTIONS", {}).get("host") or database["HOST"] or "localhost"
    port = f":{database['PORT']}" if database["PORT"] else ""
    return f"{host}{port}/{database['NAME']}"
