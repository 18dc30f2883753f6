"""What a commit cannot be faster than, measured beside it: the disk, and a call that writes nothing."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import psycopg

PER_SECOND = 50
PAGE = bytes(8192)


async def flushes(folder: Path, ended: asyncio.Event) -> list[float]:
    """Milliseconds of one page written and flushed, until `ended`. In a file that is there already, as the log of a
    server that has run for a while.
    """
    file = os.open(folder / "probe", os.O_RDWR | os.O_CREAT)
    os.write(file, PAGE)
    os.fsync(file)

    def flush() -> None:
        os.pwrite(file, PAGE, 0)
        os.fdatasync(file)

    try:
        return await _timed(lambda: asyncio.to_thread(flush), ended)
    finally:
        os.close(file)


async def empty_calls(url: str, ended: asyncio.Event) -> list[float]:
    """Milliseconds of a call that does nothing, until `ended`: the way to the database and back."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        return await _timed(lambda: connection.execute("SELECT", prepare=True), ended)


async def _timed(act: Callable[[], Awaitable[object]], ended: asyncio.Event) -> list[float]:
    times: list[float] = []
    while not ended.is_set():
        began = time.perf_counter()
        await act()
        times.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(1 / PER_SECOND)
    return times
