"""Requests of many kinds at once, and what their clients saw of them."""

import asyncio
import contextlib
import json
import ssl
from itertools import cycle, islice
from typing import NamedTuple

import httpx

TLS = ssl.create_default_context()  # unused, and dear to make anew for every client
AT_ONCE = 6
TERMINAL = ("response.completed", "response.incomplete", "response.failed")


class Ask(NamedTuple):
    model: str
    stream: bool = True
    leaves_after: int | None = None  # events


REPORTED = (Ask("sim-ok"), Ask("sim-ok", stream=False), Ask("sim-paced-8-10"), Ask("sim-reasoning-20"))
MIXED = (
    *REPORTED,
    Ask("sim-paced-12-20", leaves_after=3),
    Ask("sim-paced-6-5", stream=False),
    Ask("sim-usage-absent"),
    Ask("sim-status-500"),
    Ask("sim-cut-close-9"),
    Ask("sim-tool-2.pieces"),
    Ask("sim-fail-plain-2"),
    Ask("sim-noanswer-reset", stream=False),
    Ask("sim-fail-usage-9"),
    Ask("sim-delay-40.usage-900-100-50-80-30"),
)


class Clients:
    """`told`: request id -> the usage (input, output) that an answer's ending told its client."""

    def __init__(self, tenant, **fields):
        """`fields` are in the body of each request."""
        self.tenant = tenant
        self._fields = fields
        self.told = {}
        self.statuses = []

    def ask_each(self, asks):
        """All of them, `AT_ONCE` at a time."""
        asyncio.run(self._ask(iter(asks)))

    async def ask_until(self, ended, asks, *, most=600):
        """Again and again until `ended()`; what is open then is given up."""
        asking = asyncio.create_task(self._ask(islice(cycle(asks), most)))
        while not ended() and not asking.done():  # noqa: ASYNC110 - a process's death tells nobody
            await asyncio.sleep(0.02)
        await asyncio.wait([asking], timeout=0.3)  # a connection that was never accepted stays silent
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking

    async def _ask(self, asks):
        async with httpx.AsyncClient(verify=TLS, timeout=20, headers=self.tenant.headers) as client:
            await asyncio.gather(*(self._ask_one_by_one(client, asks) for _ in range(AT_ONCE)))

    async def _ask_one_by_one(self, client, asks):
        for ask in asks:
            body = {"model": ask.model, "input": "Hello there", "stream": ask.stream, **self._fields}
            with contextlib.suppress(httpx.HTTPError):
                async with client.stream("POST", f"{self.tenant.url}/responses", json=body) as response:
                    self.statuses.append(response.status_code)
                    await self._read(ask, response)

    async def _read(self, ask, response):
        events = 0
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                events += 1
                event = json.loads(line[6:])
                self._told(response, event.get("response") if event["type"] in TERMINAL else None)
            elif line.startswith("{"):
                self._told(response, json.loads(line))
            if events == ask.leaves_after:
                return

    def _told(self, response, answer):
        usage = answer and answer.get("usage")
        if usage:
            self.told.setdefault(response.headers["x-request-id"], (usage["input_tokens"], usage["output_tokens"]))
