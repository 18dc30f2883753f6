"""`manage.py receipt`: what became of a request and how its cost came about."""

import time
from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError

from billing.books.reports import receipt
from billing.models import UsageRecord
from billing.prices.pricing import half_up_to_nano, usd
from gateway.management.admin_command import AdminCommand
from gateway.management.table import details, table

POLL_SECONDS = 0.25


class Command(AdminCommand):
    help = "Shows the usage record of a request by its x-request-id, its bill line by line."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("id", metavar="REQUEST_ID", help="the x-request-id of the answer")
        parser.add_argument("--wait", type=float, default=0, metavar="SECONDS", help="wait that long for it to end")

    def handle(self, *args: Any, **options: Any) -> None:
        found = self._awaited(options["id"], time.monotonic() + options["wait"])
        if found is None:
            raise CommandError(f"No request has the id {options['id']!r}: use the x-request-id of an admitted request.")
        self.answer(found, _text(found))
        if found["state"] == "pending":
            raise CommandError("The request has not ended yet: ask again later, or with --wait SECONDS.")

    def _awaited(self, text: str, deadline: float) -> dict[str, Any] | None:
        """The receipt, looked up until it is final or the deadline has passed."""
        try:
            record_id = UUID(text)
        except ValueError:
            return None
        while True:
            try:
                found = receipt(record_id)
            except UsageRecord.DoesNotExist:
                found = None
            if (found and found["state"] != "pending") or time.monotonic() >= deadline:
                return found
            time.sleep(POLL_SECONDS)


def _text(found: dict[str, Any]) -> str:
    parts = [f"Request {found['id']} is {found['state']}.", details(_facts(found)), _bill(found)]
    return "\n\n".join(parts)


def _facts(found: dict[str, Any]) -> list[tuple[str, object]]:
    usage, milliseconds = found["usage"], (found["first_byte_ms"], found["latency_ms"])
    facts = [
        ("organization", found["organization"]),
        ("project", found["project"]),
        ("key", found["key"]),
        ("model", f"{found['model']} at {found['upstream']}"),
        ("response", found["response_id"]),
        ("service tier", found["service_tier"]),
        ("began", found["created_at"]),
        ("status", f"{found['status'] or 'none sent'}, {'streamed' if found['stream'] else 'not streamed'}"),
        ("times", "first byte {} ms, whole {} ms".format(*("?" if ms is None else ms for ms in milliseconds))),
        (
            "input",
            f"{usage['input_tokens']:,} tokens, of them {usage['cached_tokens']:,} cached, "
            f"{usage['cache_write_tokens']:,} written to the cache",
        ),
        ("output", f"{usage['output_tokens']:,} tokens, of them {usage['reasoning_tokens']:,} reasoning"),
        ("tool calls", ", ".join(f"{count} {kind}" for kind, count in found["tool_calls"].items())),
        ("usage is", found["usage_source"]),
        ("flags", ", ".join(found["flags"])),
    ]
    return [(name, value) for name, value in facts if value]


def _bill(found: dict[str, Any]) -> str:
    total = sum(line["amount_pico_usd"] for line in found["lines"])
    rows: list[tuple[object, ...]] = [("", "quantity", "pico-USD each", "pico-USD")]
    rows += [
        (_name(line), line["quantity"], line["price_pico_usd"], line["amount_pico_usd"]) for line in found["lines"]
    ]
    rows.append(("sum", "", "", total))
    money = [
        ("cost", _usd(found["cost_nano_usd"]) + ", the sum rounded half up to a nano-USD"),
        ("charged", _usd(found["charged_nano_usd"])),
        ("overage", _usd(found["overage_nano_usd"])),
        ("held", _usd(found["hold_nano_usd"])),
    ]
    off = "" if half_up_to_nano(total) == found["cost_nano_usd"] else "\nThe cost is not the sum of its lines."
    return f"{table(rows)}\n\n{details(money)}{off}"


def _name(line: dict[str, Any]) -> str:
    """The kind, with tier and bracket where they are not the default ones."""
    above = line.get("above_input_tokens")
    parts = (line["kind"], line.get("tier"), f"above {above:,} input tokens" if above else None)
    return ", ".join(part for part in parts if part)


def _usd(nano: int) -> str:
    return f"{nano:,} nano-USD (USD {usd(nano):.9f})"
