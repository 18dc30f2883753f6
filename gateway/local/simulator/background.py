"""`"background": true`: answered at once, made by itself, polled, followed, cancelled."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from gateway.local.simulator import changes
from gateway.local.simulator.exchange import Exchange
from gateway.local.simulator.holds import Holds
from gateway.local.simulator.job import Job
from gateway.local.simulator.player import STREAM_TYPE, steps_of
from gateway.local.simulator.reply import Reply
from gateway.local.simulator.scenario import Change, Scenario
from gateway.local.simulator.steps import Cut, CutWay
from gateway.local.simulator.store import Name, Read, Store

FOLLOWED = 64  # ended responses whose events can still be asked for

Ended = Callable[[Exchange, Job], None]


class Background:
    """`when_ended` is told of each job, with the exchange that began it."""

    def __init__(self, store: Store, holds: Holds, when_ended: Ended) -> None:
        self._store = store
        self._holds = holds
        self._when_ended = when_ended
        self._jobs: OrderedDict[Name, Job] = OrderedDict()
        self._tasks: dict[Name, asyncio.Task[None]] = {}

    async def respond(self, exchange: Exchange, reply: Reply, scenario: Scenario, read: Read) -> None:
        """The queued response; or, streamed, its events. A cut is the stream's alone: the response goes on."""
        names = {name for name in (reply.id, exchange.request.client_request_id) if name}
        job = Job(reply, names)
        self._start(exchange, job, scenario, read)
        if not reply.streamed:
            await exchange.show(reply.opening())
            exchange.ending = "queued"
            return
        await self._stream(exchange, job, scenario)

    def job(self, account: str, response_id: str) -> Job | None:
        return self._jobs.get((account, response_id))

    def cancel(self, account: str, response_id: str) -> None:
        """Of a response that is being made nothing is kept but that it was cancelled. Others stay as they are."""
        name = (account, response_id)
        if name in self._tasks:
            job = self._jobs[name]
            response = job.reply.opening("cancelled")
            self._store.end(account, job.reply, response)
            job.end(response)
            self._tasks[name].cancel()

    async def stop(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, exchange: Exchange, job: Job, scenario: Scenario, read: Read) -> None:
        name = (exchange.account, job.reply.id)
        self._store.begin(exchange.account, job.reply, read)
        task = asyncio.get_running_loop().create_task(self._run(job, scenario))
        if name not in self._tasks:
            self._tasks[name], self._jobs[name] = task, job
            self._jobs.move_to_end(name)
        task.add_done_callback(lambda task: self._end(exchange, job, task))

    async def _run(self, job: Job, scenario: Scenario) -> None:
        await asyncio.sleep(scenario.delay)
        uncut = msgspec.structs.replace(scenario, changes=[one for one in scenario.changes if not _cuts(one)])
        await job.run(steps_of(job.reply, uncut), self._holds)

    def _end(self, exchange: Exchange, job: Job, task: "asyncio.Task[None]") -> None:
        name = (exchange.account, job.reply.id)
        if job.response:
            self._store.end(exchange.account, job.reply, job.response)
        self._store.leave(exchange.account, job.reply)
        job.end()
        if self._tasks.get(name) is task:
            del self._tasks[name]
        while len(self._jobs) - len(self._tasks) > FOLLOWED:
            del self._jobs[next(old for old in self._jobs if old not in self._tasks)]
        self._when_ended(exchange, job)

    async def _stream(self, exchange: Exchange, job: Job, scenario: Scenario) -> None:
        exchange.head(200, STREAM_TYPE)
        after, way = _cut_of(scenario, job.reply)
        async for event in job.follow():
            if exchange.events == after:
                return await exchange.cut(way)
            exchange.note(event)
            await exchange.send(scenario.framing.event(event))
        if job.response and exchange.ending == "unfinished":
            exchange.ending = job.response["status"]
        await exchange.finish()


def _cuts(change: Change) -> bool:
    return isinstance(change, partial) and change.func is changes.cut


def _cut_of(scenario: Scenario, reply: Reply) -> tuple[int | None, CutWay]:
    """After how many events the stream is cut, and how."""
    for change in scenario.changes:
        if isinstance(change, partial) and change.func is changes.cut:
            end: Any = change.keywords["end"]
            ways = [step.way for step in end(changes.KEEPALIVE, reply) if isinstance(step, Cut)]
            return change.keywords["after"], ways[0] if ways else "close"
    return None, "close"
