"""`manage.py demo`: the whole product doing its job once, in a fresh folder that is gone afterwards."""

import os
import shutil
import sys
import tempfile
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from gateway.local.listener import listen
from gateway.local.processes import StartError
from gateway.local.supervisor import GaveUp, Supervisor
from gateway.management.demo import Story, simulator_service
from gateway.management.instance import configured_instance, url_of

MARK = "TOLLGATE_DEMO"
CONFIGURED = ("DATABASE_URL", "REDIS_URL", "BROKER_URL", "PUBLIC_URL", "ALLOWED_HOSTS", "TOLLGATE_ENV")


class Command(BaseCommand):
    help = "Starts everything in a fresh folder, sends two requests, shows what they cost, and stops."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--openai", action="store_true", help="use the real API, with OPENAI_API_KEY")
        parser.add_argument("--keep", action="store_true", help="stay up afterwards, until Ctrl-C")
        parser.add_argument("--port", type=int, default=0, help="of the gateway (default: a free one)")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["openai"] and not os.environ.get("OPENAI_API_KEY"):
            raise CommandError("--openai needs the variable OPENAI_API_KEY: set it to a key of the real API.")
        if MARK not in os.environ:
            _start_again_in_a_fresh_folder()
        try:
            self._run(options)
        except (StartError, GaveUp) as error:
            raise CommandError(str(error)) from error
        finally:
            shutil.rmtree(settings.TOLLGATE_VAR, ignore_errors=True)

    def _run(self, options: dict[str, Any]) -> None:
        self._say(f"Tollgate demo, in {settings.TOLLGATE_VAR}\n\nStarting every part:")
        listener = listen("127.0.0.1", options["port"])
        stages = configured_instance(listener, workers=1).stages()
        if not options["openai"]:
            stages.insert(0, [simulator_service()])
        with Supervisor(stages, listeners=[listener], progress=lambda text: self._say(f"  {text}")) as supervisor:
            Story(url_of(listener), is_real=options["openai"], say=self._say).tell(keep=options["keep"])
            if options["keep"]:
                supervisor.run_until_stopped()
            self._say("\nStopping every part:")
        self._say("\nDone.")

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()


def _start_again_in_a_fresh_folder() -> None:
    """Settings are read once, at the start: so the command becomes itself again, with nothing configured."""
    folder = Path(tempfile.mkdtemp(prefix="tollgate-demo-"))
    kept = {name: value for name, value in os.environ.items() if name not in CONFIGURED}
    os.execve(sys.executable, [sys.executable, *sys.argv], {**kept, "TOLLGATE_VAR": str(folder), MARK: "1"})  # noqa: S606
