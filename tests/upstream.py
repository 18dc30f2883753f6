"""The simulator in a thread of its own, so that tests may block: the gateway's upstream for a whole run."""

import asyncio
import threading

from gateway.local.simulator import Simulator

CREATE = ("POST", "/v1/responses")


class UpstreamThread:
    """`url` is its base URL. What is asked of it by name is asked by our request id, the x-request-id of an answer."""

    def __init__(self, log):
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="simulator", daemon=True)
        self._simulator = Simulator(log=log)

    def __enter__(self):
        self._thread.start()
        self._run(self._simulator.__aenter__())
        self.url = self._simulator.url
        return self

    def __exit__(self, *_):
        self._run(self._simulator.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def sent(self, request_id):
        """The exact bytes of the body it sent for a request, kept once the last of them has left."""
        self.ended(request_id)
        return bytes(self._simulator.sent.find(request_id))

    def ended(self, request_id):
        """Its log's line on how a request ended, once it has."""
        return self._run(self._simulator.log.wait_for(_is("ended", request_id)))

    def arrived(self, request_id):
        return self._run(self._simulator.log.wait_for(_is("arrived", request_id)))

    def lines_of(self, request_id):
        return [entry for entry in self.lines() if entry.get("client_request_id") == request_id]

    def lines(self):
        """All that its log remembers."""
        return self._run(_called(lambda: list(self._simulator.log.entries)))

    def responses(self):
        """Its log's lines on how each POST /v1/responses ended that it remembers."""
        lines = self.lines()
        created = {line["number"] for line in lines if (line.get("method"), line.get("path")) == CREATE}
        return [line for line in lines if line["kind"] == "ended" and line["number"] in created]

    def held(self):
        """How many answers are held open."""
        return len(self._simulator.holds)

    def hold(self, count):
        """Returns once so many answers are held open."""
        self._run(self._simulator.holds.until(count))

    def release(self, name=None):
        self._loop.call_soon_threadsafe(self._simulator.holds.release, name)

    async def let_go(self, name):
        """Lets a held answer go on, once it is held; for tests that run in an event loop of their own."""
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._simulator.holds.let_go(name), self._loop))

    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)


async def _called(function):
    return function()


def _is(kind, request_id):
    return lambda entry: entry["kind"] == kind and entry.get("client_request_id") == request_id
