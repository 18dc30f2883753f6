"""Answers that are held open until a test lets them go on."""

import asyncio


class Holds:
    """Each held answer is known by the names of its request: the X-Client-Request-Id and the response id."""

    def __init__(self) -> None:
        self._held: dict[asyncio.Future[None], set[str]] = {}
        self._changed = asyncio.Event()

    async def hold(self, names: set[str], seconds: float | None) -> None:
        """Return when released, or after `seconds`."""
        released = asyncio.get_running_loop().create_future()
        self._held[released] = names
        self._changed.set()
        try:
            await asyncio.wait([released], timeout=seconds)
        finally:
            del self._held[released]
            self._changed.set()

    def release(self, name: str | None = None) -> int:
        """Let go of all, or of those that bear the name; how many."""
        chosen = [held for held, names in self._held.items() if not held.done() and (name is None or name in names)]
        for held in chosen:
            held.set_result(None)
        return len(chosen)

    async def let_go(self, name: str, timeout: float = 20.0) -> None:  # noqa: ASYNC109
        """Releases the answer of that name as soon as it is held. TimeoutError after `timeout` seconds."""
        async with asyncio.timeout(timeout):
            while not self.release(name):
                self._changed.clear()
                await self._changed.wait()

    def __len__(self) -> int:
        """How many are held; any thread may ask."""
        return len(self._held)

    def names(self) -> list[list[str]]:
        return [sorted(names) for names in self._held.values()]

    async def until(self, count: int, timeout: float = 5.0) -> None:  # noqa: ASYNC109
        """Return when exactly `count` answers are held, TimeoutError after `timeout` seconds."""
        async with asyncio.timeout(timeout):
            while len(self._held) != count:
                self._changed.clear()
                await self._changed.wait()
