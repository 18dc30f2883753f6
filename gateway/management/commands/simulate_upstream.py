"""`manage.py simulate_upstream`: the upstream simulator in the foreground, until SIGTERM or SIGINT."""

import asyncio
import signal
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import uvloop
from django.core.management.base import BaseCommand

from gateway.local.simulator import Simulator
from gateway.local.simulator.store import STORED_RESPONSES


class Command(BaseCommand):
    help = "Serves a stand-in for OpenAI's Responses API (docs/simulator.md). Prints its base URL when it listens."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--log", type=Path, metavar="FILE", help="append a JSON line when a request comes and ends")
        parser.add_argument("--key", metavar="SECRET", help="the only bearer that is accepted (default: any)")
        parser.add_argument("--stored", type=int, metavar="N", default=STORED_RESPONSES, help="responses kept at most")

    def handle(self, *args: Any, **options: Any) -> None:
        given = {name: options[name] for name in ("host", "key", "log", "stored")}
        simulator = Simulator(options["port"], **given)
        uvloop.run(self._serve(simulator))

    async def _serve(self, simulator: Simulator) -> None:
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        async with simulator:
            self.stdout.write(f"Simulator listening on {simulator.url}")
            self.stdout.flush()
            await stopped.wait()
