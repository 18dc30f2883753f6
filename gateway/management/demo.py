"""The demo's story: set up by the admins' own commands, told by a tenant with nothing but a socket."""

import http.client
import io
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError

from accounts.first_admin import NAME, create_first_admin
from billing.models import Unposted, UsageRecord
from gateway.local.processes import Service
from gateway.management.instance import PASSWORD_FILE

MODEL = "gpt-4.1-mini"
PATTERN = "gpt-4.1*"
# USD per million tokens, the list price of gpt-4.1-mini
PRICES = {
    "input": Decimal("0.40"),
    "cached_input": Decimal("0.10"),
    "cache_write": Decimal("0.40"),
    "output": Decimal("1.60"),
}
QUESTION = "你好啊! Say hello in three languages."
SIMULATOR_LOG = settings.TOLLGATE_VAR / "log" / "simulator.log"
POSTING_SECONDS = 45
ANSWER_SECONDS = 60


def simulator_service() -> Service:
    """The stand-in for the real API."""
    return Service(
        name="upstream simulator",
        argv=[sys.executable, "manage.py", "simulate_upstream", "--port", "0"],
        log=SIMULATOR_LOG,
        cwd=settings.BASE_DIR,
        ready_text="Simulator listening on",
    )


class Story:
    """Told once, top to bottom. Raises CommandError where it does not go as it should."""

    def __init__(self, url: str, *, is_real: bool, say: Callable[[str], None]) -> None:
        self._url = url
        self._is_real = is_real
        self._say = say
        self._key = ""

    def tell(self, *, keep: bool) -> None:
        self._set_up()
        streamed = self._ask(stream=True)
        plain = self._ask(stream=False)
        self._await_posting()
        for request_id in (streamed, plain):
            self._explain(request_id)
        self._show_rollup()
        if keep:
            self._invite()

    def _set_up(self) -> None:
        self._say("\nAn admin sets it up (manage.py or the Django admin, the same):")
        url, secret = self._upstream()
        private = [] if self._is_real else ["--allow-private"]
        self._command(
            "add_upstream", "--name", "upstream", "--url", url, "--key", secret, "--models", PATTERN, *private
        )
        prices = [word for kind, usd in PRICES.items() for word in (f"--{kind.replace('_', '-')}", str(usd))]
        self._command("set_price", "--model", PATTERN, *prices)
        issued = self._command(
            "issue_key", "--organization", "acme", "--project", "website", "--name", "demo", "--create"
        )
        self._key = issued["key"]

    def _upstream(self) -> tuple[str, str]:
        if self._is_real:
            return "https://api.openai.com/v1", os.environ["OPENAI_API_KEY"]
        found = re.findall(r"listening on (\S+)", SIMULATOR_LOG.read_text())
        return found[-1], "sk-simulated"

    def _command(self, name: str, *words: str) -> dict[str, Any]:
        shown = [word if word != os.environ.get("OPENAI_API_KEY") else "$OPENAI_API_KEY" for word in words]
        self._say(f"  $ manage.py {name} {' '.join(shown)}")
        return _json_of(name, *words)

    def _ask(self, *, stream: bool) -> str:
        """Sends a request as a tenant would; shows the answer as it comes. Returns its x-request-id."""
        self._say(f"\nA tenant asks, {'streamed' if stream else 'plain'}: POST {self._url}/v1/responses {QUESTION!r}")
        place = urlsplit(self._url)
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=ANSWER_SECONDS)
        body = {"model": MODEL, "stream": stream, "input": [{"role": "user", "content": QUESTION}]}
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        began = time.monotonic()
        connection.request("POST", "/v1/responses", json.dumps(body).encode(), headers)
        response = connection.getresponse()
        if response.status != http.HTTPStatus.OK:
            raise CommandError(f"The gateway answered {response.status}: {response.read().decode()}")
        for line in _told(response, stream=stream):
            self._say(f"  {(time.monotonic() - began) * 1000:6.0f} ms  {line}")
        request_id = response.headers["x-request-id"]
        self._say(f"  x-request-id: {request_id}")
        connection.close()
        return request_id

    def _await_posting(self) -> None:
        """Celery's beat posts what has ended, into rollups and ledger."""
        self._say("\nWaiting for Celery to post both to the hourly rollup and the ledger:")
        began = shown = time.monotonic()
        while UsageRecord.objects.count() < 2 or Unposted.objects.exists():
            now = time.monotonic()
            if now - began > POSTING_SECONDS:
                raise CommandError(
                    f"Celery posted nothing within {POSTING_SECONDS} s: see {settings.TOLLGATE_VAR}/log."
                )
            if now - shown > 2:
                self._say(f"  {now - began:.0f} s, it runs every {settings.POSTING_SECONDS:g} s ...")
                shown = now
            time.sleep(0.1)
        self._say(f"  posted after {time.monotonic() - began:.1f} s")

    def _explain(self, request_id: str) -> None:
        receipt = _json_of("receipt", request_id, "--wait", "10")
        self._say(f"\n$ manage.py receipt {request_id}\n{_text_of('receipt', request_id)}")
        terms, dollars = by_hand(receipt["usage"])
        nano = receipt["cost_nano_usd"]
        agrees = round(dollars * 10**9) == nano and dollars * 10**9 == nano
        self._say(
            f"\nBy hand: {terms} = ${dollars:f}, the record says {nano} nano-USD: {'equal' if agrees else 'NOT EQUAL'}"
        )
        if not agrees:
            raise CommandError("The receipt does not agree with the calculation by hand.")

    def _show_rollup(self) -> None:
        self._say(f"\n$ manage.py usage --organization acme\n{_text_of('usage', '--organization', 'acme')}")

    def _invite(self) -> None:
        password = create_first_admin(PASSWORD_FILE)
        self._say(f"\nAdmin:   {self._url}/admin/   (user {NAME}, password {password})\nConsole: {self._url}/console/")
        self._say(
            f"curl -N {self._url}/v1/responses -H 'Authorization: Bearer {self._key}' "
            f'-H \'Content-Type: application/json\' -d \'{{"model": "{MODEL}", "stream": true, "input": "Hello"}}\'\n'
        )


def by_hand(usage: dict[str, int]) -> tuple[str, Decimal]:
    """The price of `usage` from the list prices alone, as a person would reckon it: the terms, and their sum in USD."""
    quantities = {
        "input": usage["input_tokens"] - usage["cached_tokens"] - usage["cache_write_tokens"],
        "cached_input": usage["cached_tokens"],
        "cache_write": usage["cache_write_tokens"],
        "output": usage["output_tokens"],
    }
    used = {kind: quantity for kind, quantity in quantities.items() if quantity}
    terms = " + ".join(f"{quantity} {kind} x ${PRICES[kind]}/1M" for kind, quantity in used.items())
    return terms, sum((quantity * PRICES[kind] for kind, quantity in used.items()), Decimal()) / 1_000_000


def _told(response: http.client.HTTPResponse, *, stream: bool) -> Iterator[str]:
    """What to show of an answer: each event's name and delta as it comes, or the text of a plain one."""
    if not stream:
        answer = json.loads(response.read())
        yield "".join(part["text"] for item in answer["output"] for part in item.get("content", ()))
        return
    for raw in response:
        line = raw.decode().rstrip()
        if line.startswith("data: "):
            event = json.loads(line[6:])
            yield f"{event['type']}  {event.get('delta', '')}".rstrip()


def _json_of(name: str, *words: str) -> dict[str, Any]:
    return dict(json.loads(_text_of(name, *words, "--json")))


def _text_of(name: str, *words: str) -> str:
    output = io.StringIO()
    call_command(name, *words, stdout=output)
    return output.getvalue().rstrip()
