"""`manage.py rebuild_rollups`: the hourly rollups anew from the records."""

import time
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from billing.books.ledger import rebuild_rollups
from gateway.management.admin_command import AdminCommand
from gateway.management.arguments import moment


class Command(AdminCommand):
    help = "Recomputes the hourly rollups from the records. Posting waits meanwhile, requests do not. May be repeated."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--since", type=moment, metavar="ISO", help="from the start of its hour on (default: all)")

    def handle(self, *args: Any, **options: Any) -> None:
        began = time.monotonic()
        rebuilt = rebuild_rollups(options["since"])
        seconds = round(time.monotonic() - began, 3)
        self.answer(
            asdict(rebuilt) | {"since": options["since"], "seconds": seconds},
            f"{rebuilt.buckets:,} buckets in {seconds:.1f} s: {rebuilt.corrected:,} were wrong or missing, "
            f"{rebuilt.removed:,} should not have been.",
        )
