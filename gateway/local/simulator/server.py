"""The simulator as a whole: a listening socket, the log, and what tests ask of it."""

import asyncio
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Self

from gateway.local.simulator.background import Background
from gateway.local.simulator.connection import Connection
from gateway.local.simulator.exchange import Exchange
from gateway.local.simulator.holds import Holds
from gateway.local.simulator.job import Job
from gateway.local.simulator.log import Log
from gateway.local.simulator.request import Request
from gateway.local.simulator.routes import Routes
from gateway.local.simulator.sent import Sent
from gateway.local.simulator.store import STORED_RESPONSES, Store


class Simulator:
    """`async with Simulator() as simulator:` listens; `simulator.url` is what a client takes as its base URL (.../v1).

    `port` 0 takes a free one; `key` is the only bearer accepted (None: any); `stored` responses are kept at most.
    `log.entries` holds the log's lines, `holds` the answers held open, `sent` the bodies sent lately.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        host: str = "127.0.0.1",
        key: str | None = None,
        log: Path | None = None,
        stored: int = STORED_RESPONSES,
    ) -> None:
        self._host = host
        self._port = port
        self.log = Log(log)
        self.holds = Holds()
        self.sent = Sent()
        store = Store(stored)
        self._background = Background(store, self.holds, self._log_finish)
        self._routes = Routes(key, self.holds, self.sent, store, self._background)
        self._connections: set[Connection] = set()
        self._requests = 0

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self._answer, self._connections), self._host, self._port, backlog=4096
        )
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        tasks = [connection.task for connection in self._connections if connection.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._background.stop()
        for connection in list(self._connections):
            connection.transport.abort()
        await self._server.wait_closed()
        self.log.close()

    @property
    def origin(self) -> str:
        return f"http://{self._host}:{self._port}"

    @property
    def url(self) -> str:
        return f"{self.origin}/v1"

    async def _answer(self, connection: Connection, request: Request) -> bool:
        self._requests += 1
        exchange = Exchange(connection, request, self._requests)
        asks_simulator = request.path.startswith("/simulator/")
        if not asks_simulator:
            self._log_arrival(exchange)
        try:
            await self._routes.answer(exchange)
        except asyncio.CancelledError:
            if exchange.ending != "cut":
                exchange.ending = "client_gone" if connection.lost else "stopped"
            raise
        finally:
            if not asks_simulator:
                self._log_end(exchange)
        return exchange.keeps_open

    def _log_arrival(self, exchange: Exchange) -> None:
        request = exchange.request
        asked = request.asked or {}
        self.log.write(
            "arrived",
            number=exchange.number,
            client_request_id=request.client_request_id,
            endpoint=exchange.endpoint,
            account=exchange.logged_account,
            method=request.method,
            path=request.path,
            query=request.query,
            model=asked.get("model"),
            stream=asked.get("stream"),
            body_bytes=len(request.body),
            body_sha256=sha256(request.body).hexdigest(),
            headers=request.logged_headers(),
        )

    def _log_finish(self, exchange: Exchange, job: Job) -> None:
        """Of a response that was made in the background, once it is; it may be long after its request was answered."""
        response = job.response or {"status": "stopped"}
        self.log.write(
            "finished",
            number=exchange.number,
            client_request_id=exchange.request.client_request_id,
            account=exchange.logged_account,
            response_id=job.reply.id,
            ending=response["status"],
            **({"usage": response["usage"]} if "usage" in response else {}),
        )

    def _log_end(self, exchange: Exchange) -> None:
        body, name = bytes(exchange.body), exchange.request.client_request_id
        if len(body) == exchange.bytes:
            made = exchange.response_id if exchange.is_billable else None
            self.sent.keep(exchange.number, body, [known for known in (name, made) if known])
        self.log.write(
            "ended",
            number=exchange.number,
            client_request_id=name,
            **exchange.logged(),
            body_sha256=exchange.digest.hexdigest(),
        )
