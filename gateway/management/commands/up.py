"""`manage.py up`: everything that Tollgate needs, started in order, kept alive, and stopped in order."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.first_admin import NAME, create_first_admin
from gateway.local.listener import listen
from gateway.local.processes import StartError
from gateway.local.supervisor import GaveUp, Supervisor
from gateway.management.instance import PASSWORD_FILE, configured_instance, url_of


class Command(BaseCommand):
    help = "Starts Tollgate and serves until it is stopped (Ctrl-C, SIGTERM)."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=8000)
        parser.add_argument("--workers", type=int, default=1, help="gateway processes (default: 1)")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            listener = listen(options["host"], options["port"])
            instance = configured_instance(listener, options["workers"])
            with Supervisor(instance.stages(), listeners=[listener], progress=self._say) as supervisor:
                self._welcome(url_of(listener))
                supervisor.run_until_stopped()
        except (StartError, GaveUp) as error:
            raise CommandError(str(error)) from error

    def _welcome(self, url: str) -> None:
        password = create_first_admin(PASSWORD_FILE)
        if password is not None:
            self._say(f"Made the user {NAME} with the password {password} (kept in {PASSWORD_FILE}).")
        self._say(f"Admin:   {url}/admin/\nConsole: {url}/console/\nAPI:     {url}/v1")

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()
