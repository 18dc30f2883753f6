"""One connection to the database that carries calls out, one at a time, each until it is known what became of it.

A call whose answer was lost may still be carried out, however late: so it must be harmless to repeat, and nothing may
be decided about what it carries before it is known. Whoever waits for a call must not cancel it: a server that hangs
loses its connection instead.
"""

import asyncio
import logging
import os
import socket
from typing import Any

import psycopg

from billing import faults

logger = logging.getLogger(__name__)

RETRY_SECONDS = 0.2
HANGING_SECONDS = 5
# Plans stay nested loops over the ids in their order: the order of locks depends on it.
PLANS = {
    "plan_cache_mode": "force_generic_plan", "enable_bitmapscan": "off", "enable_hashjoin": "off",
    "enable_mergejoin": "off", "enable_seqscan": "off", "jit": "off",
}  # fmt: skip
# What is committed stays, whatever the server is set to; a call given up here does not wait for locks there for long.
SAFE = {
    "synchronous_commit": "on", "statement_timeout": "4500", "default_transaction_isolation": "read\\ committed",
}  # fmt: skip
OPTIONS = " ".join(f"-c {name}={value}" for name, value in (SAFE | PLANS).items())
# Classes of SQLSTATE by which the database refuses an item: bad data, a constraint, a limit. All else will pass.
REFUSALS = ("22", "23", "54")
# What passes by itself: the way to the database, its resources, its operators, other transactions.
PASSING = ("08", "25", "40", "53", "57", "58")
MOST_ATTEMPTS = 10  # at anything else


class GaveUp(Exception):
    """The statement did nothing, and said so in one of the ways that the caller named."""


class Refused(Exception):
    """Something in the parameters is wrong in itself."""


class Stuck(Refused):
    """The database is well and will not carry the call out, nobody knows why."""


class Connection:
    """Opened when it is first needed, and again whenever it is lost. `name` stands in logs, in pg_stat_activity and in
    the names of the fault points around each call (`name.sent`, `name.answered`).
    """

    def __init__(self, conninfo: str, name: str) -> None:
        self._conninfo = conninfo
        self._name = name
        self._sent, self._answered = f"{name}.sent", f"{name}.answered"
        self._connection: psycopg.AsyncConnection[tuple[Any, ...]] | None = None

    async def open(self) -> None:
        """Returns once there is a connection, however long it takes."""
        while self._connection is None:
            try:
                self._connection = await psycopg.AsyncConnection.connect(
                    self._conninfo, autocommit=True, options=OPTIONS, application_name=f"tollgate {self._name}",
                    connect_timeout=HANGING_SECONDS, keepalives_idle=30,
                )  # fmt: skip
            except Exception as error:
                logger.warning("%s: the database cannot be reached (%s)", self._name, type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)

    async def call(self, statement: str, parameters: list[str], gives_up: tuple[str, ...] = ()) -> Any:
        """The first column of the first row of the answer, None without rows, however often it takes.

        `gives_up`: the SQLSTATEs by which the statement says that it did nothing, raised as GaveUp; Refused and Stuck
        are answers too.
        """
        attempts = 0
        while True:
            await self.open()
            try:
                faults.reach(self._sent)
                answer = await self._execute(statement, parameters)
                faults.reach(self._answered)
            except Exception as error:
                state = getattr(error, "sqlstate", None) or ""
                if state in gives_up:
                    raise GaveUp from None
                if _is_refusal(error, state):
                    raise Refused(type(error).__name__) from error
                attempts += bool(state) and not state.startswith(PASSING)
                if attempts >= MOST_ATTEMPTS:
                    raise Stuck(type(error).__name__) from error
                logger.warning("%s: the database did not carry a call out (%s)", self._name, type(error).__name__)
                if not state.startswith("40"):  # rolled back for another's sake: the connection is well
                    await self.close()
                    await asyncio.sleep(RETRY_SECONDS)
            else:
                return answer

    def cut(self) -> None:
        """Ends the call under way as if the server had closed the connection."""
        if self._connection is not None and not self._connection.closed:
            with socket.socket(fileno=os.dup(self._connection.fileno())) as twin:
                twin.shutdown(socket.SHUT_RDWR)

    async def close(self) -> None:
        """The next call opens another."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()

    async def _execute(self, statement: str, parameters: list[str]) -> Any:
        """An await on psycopg is never cancelled: a server that hangs loses its connection."""
        assert self._connection is not None
        watchdog = asyncio.get_running_loop().call_later(HANGING_SECONDS, self.cut)
        try:
            cursor = await self._connection.execute(statement, parameters, prepare=True)
            row = await cursor.fetchone()
        finally:
            watchdog.cancel()
        return row[0] if row else None


def _is_refusal(error: Exception, state: str) -> bool:
    """Whether the parameters are to blame, or we; where it is the database, or the way to it, the call is repeated."""
    if isinstance(error, psycopg.Error):
        return state.startswith(REFUSALS)
    return not isinstance(error, OSError | faults.Injected)
