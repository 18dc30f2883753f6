"""An answer on its way in, and the connection that it takes until it is closed."""

from collections.abc import Callable

from gateway.upstream.connection import Connection


class Answer:
    """Whoever holds it must `close` it. `headers`: names in lower case, values of one name joined by commas."""

    def __init__(self, connection: Connection, seconds: float, give_back: Callable[[Connection], None]) -> None:
        """`seconds`: how long a piece of the body is waited for."""
        self.status = connection.status
        self.headers = connection.headers
        self._connection: Connection | None = connection
        self._seconds = seconds
        self._give_back = give_back

    async def read(self) -> bytes:
        """What has come of the body since the last call, in pieces of whatever size the network gives; empty at its
        end. Raises httpx's exceptions where it does not end well.
        """
        return await self._connection.read(self._seconds) if self._connection is not None else b""

    def close(self) -> None:
        """Gives the connection back, once."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            self._give_back(connection)
