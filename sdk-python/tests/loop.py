"""Watches how long an event loop is held up."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass


@dataclass
class Turn:
    """The longest turn of an event loop, in seconds."""

    busy: float = 0.0
    """The processor time of its thread: what ran there is alone to blame."""
    clock: float = 0.0
    """Shared with whatever else the machine does."""


@asynccontextmanager
async def longest_turn() -> AsyncIterator[Turn]:
    """Watches the loop that it runs on until it is left. Python's own collector is off meanwhile."""
    longest = Turn()

    async def watch() -> None:
        while True:
            busy, clock = time.thread_time(), time.perf_counter()
            # Comes back in the next turn.
            await asyncio.sleep(0)
            longest.busy = max(longest.busy, time.thread_time() - busy)
            longest.clock = max(longest.clock, time.perf_counter() - clock)

    with without_collector():
        watcher = asyncio.create_task(watch())
        # The first turn is the watcher's own.
        await asyncio.sleep(0)
        try:
            yield longest
        finally:
            # The last turn counts, too.
            await asyncio.sleep(0)
            watcher.cancel()


@contextmanager
def without_collector() -> Iterator[None]:
    """Nobody pays for what another one has left."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
