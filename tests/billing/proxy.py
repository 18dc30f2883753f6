"""Between the meter and PostgreSQL: a way that can be cut where it hurts."""

import asyncio
import contextlib

from psycopg.conninfo import conninfo_to_dict, make_conninfo


class Proxy:
    """`url` leads to the same database as the one given. The next answer can be lost once the server has given it."""

    def __init__(self, url, folder):
        self._server = conninfo_to_dict(url)
        self._folder = folder
        self._lose = asyncio.Event()
        self._tasks = set()
        self.lost = asyncio.Event()
        self.url = make_conninfo(**(self._server | {"host": str(folder), "port": "5432"}))

    async def __aenter__(self):
        self._listener = await asyncio.start_unix_server(self._serve, self._folder / ".s.PGSQL.5432")
        return self

    async def __aexit__(self, *_):
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def lose_next_answer(self):
        self.lost.clear()
        self._lose.set()

    async def _serve(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        host, port = self._server["host"], self._server.get("port", "5432")
        if host.startswith("/"):
            server, to_server = await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        else:
            server, to_server = await asyncio.open_connection(host, int(port))
        try:
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._questions(reader, to_server))
                    both.create_task(self._answers(server, writer))
        except* ConnectionError:
            pass
        finally:
            to_server.close()
            writer.close()

    async def _questions(self, client, to_server):
        while data := await client.read(65536):
            to_server.write(data)
        raise ConnectionResetError

    async def _answers(self, server, to_client):
        while data := await server.read(65536):
            if self._lose.is_set():
                self._lose.clear()
                self.lost.set()
                break
            to_client.write(data)
        raise ConnectionResetError
