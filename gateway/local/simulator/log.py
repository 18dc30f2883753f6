"""The append-only log of what was asked and what was sent: the oracle that tests hold usage records against.

One JSON line when a request has been read, one when its answer has ended, each handed to the kernel in a single write,
so that it survives SIGKILL. docs/simulator.md says what the keys mean.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

Entry = dict[str, Any]


class Log:
    """Lines in a file, where one is given, and the last `remembered` of them in memory."""

    def __init__(self, path: Path | None = None, remembered: int = 10_000) -> None:
        self.entries: deque[Entry] = deque(maxlen=remembered)
        self._file = path.open("ab", buffering=0) if path else None
        self._written = asyncio.Event()

    def write(self, kind: str, **fields: object) -> None:
        entry = {"kind": kind, "time": time.time(), **fields}
        self.entries.append(entry)
        if self._file:
            self._file.write(msgspec.json.encode(entry) + b"\n")
        self._written.set()

    async def wait_for(self, wanted: Callable[[Entry], bool], timeout: float = 5.0) -> Entry:  # noqa: ASYNC109
        """The first remembered entry that is `wanted`, now or within `timeout` seconds. TimeoutError if none comes."""
        async with asyncio.timeout(timeout):
            while True:
                self._written.clear()
                found = next((entry for entry in self.entries if wanted(entry)), None)
                if found is not None:
                    return found
                await self._written.wait()

    def ended(self) -> list[Entry]:
        return [entry for entry in self.entries if entry["kind"] == "ended"]

    def close(self) -> None:
        if self._file:
            self._file.close()
