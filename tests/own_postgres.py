"""A PostgreSQL of a test's own, which may be stopped, killed and frozen. Durable, as in production."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
from django.core.management import call_command
from django.db import connection
from environ import Env
from psycopg.rows import dict_row

from gateway.local.embedded import PostgresServer, database_url


class OwnPostgres:
    """`url` is what a gateway process takes; it listens once started, with all tables once `migrate` was called."""

    def __init__(self, folder):
        self._server = PostgresServer(folder, durable=True)
        self._thread = ThreadPoolExecutor(1)  # the kernel ties a child to the thread that made it
        self.url = database_url(folder)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.thaw()
        self.stop()
        self._thread.shutdown()

    def start(self):
        """Returns when it answers."""
        self._thread.submit(self._server.start).result()

    def stop(self):
        """As a shutdown does: sessions end, a checkpoint is written."""
        self._server.stop()

    def kill(self):
        """As a power cut does: nothing more is written by any of its processes."""
        self.freeze()  # the postmaster would start others in the place of those that die
        processes = self._processes()
        for process in processes:
            os.kill(process, signal.SIGKILL)
        self._server.stop()
        while any(Path(f"/proc/{process}").exists() for process in processes):
            time.sleep(0.01)

    def freeze(self):
        """It hangs: connections stay open, and nobody answers."""
        for process in self._processes():
            os.kill(process, signal.SIGSTOP)

    def thaw(self):
        for process in self._processes():
            os.kill(process, signal.SIGCONT)

    def migrate(self, blocker):
        with self.connected(blocker):
            call_command("migrate", verbosity=0)

    @contextmanager
    def connected(self, blocker):
        """While it lasts, Django's connection is to this server and not blocked."""
        usual = dict(connection.settings_dict)
        with blocker.unblock():
            connection.close()
            connection.settings_dict.update(Env.db_url_config(self.url))
            try:
                yield
            finally:
                connection.close()
                connection.settings_dict.update(usual)

    def rows(self, statement, *parameters):
        """As dicts, over a connection of its own."""
        with psycopg.connect(self.url, row_factory=dict_row) as own:
            return own.execute(statement, parameters).fetchall()

    def _processes(self):
        """The postmaster, and then its children: each is the leader of a group of its own."""
        process = self._server._process
        if process is None or process.exit_code() is not None:
            return []
        return [process.pid, *(child for child, parent in _parents() if parent == process.pid)]


def _parents():
    """Each process of the machine with its parent (proc(5): after the name in brackets come state and parent)."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            yield int(stat.parent.name), int(stat.read_text().rpartition(")")[2].split()[1])
