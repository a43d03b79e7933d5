"""The queue of servers to look at: each key once, and never two workers for the same key.

Owns deduplication by key, bounded concurrency, and back-off per key. Does not know what the work is.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

FIRST_BACK_OFF: Final = 0.2
LONGEST_BACK_OFF: Final = 30.0


class WorkQueue:
    """Keys that need work. All calls are from one event loop.

    `at_once`: how many tasks run at the same time for one cluster, so that a slow one holds up no other.
    """

    def __init__(self, *, at_once: int) -> None:
        self._waiting: dict[str, None] = {}
        self._working: set[str] = set()
        self._failures: dict[str, int] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._awake = asyncio.Event()
        self._at_once = at_once
        self._rooms: dict[str, asyncio.Semaphore] = {}

    def put(self, key: str) -> None:
        """Queue a key. A key in its back-off waits for that to end."""
        if key not in self._timers:
            self._waiting[key] = None
            self._awake.set()

    async def take(self) -> list[str]:
        """Return all queued keys that nobody works on; waits until there is one."""
        while True:
            await self._awake.wait()
            self._awake.clear()
            keys = [key for key in self._waiting if key not in self._working]
            for key in keys:
                del self._waiting[key]
            if keys:
                return keys

    async def work(self, key: str, task: Callable[[], Awaitable[bool]], *, cluster: str = "") -> None:
        """Run the task when there is room for one more of its cluster.

        If it returns False, it failed for now, and the key returns after its back-off.
        """
        self._working.add(key)
        try:
            async with self._rooms.setdefault(cluster, asyncio.Semaphore(self._at_once)):
                done = await task()
        finally:
            self._working.discard(key)
            if key in self._waiting:
                self._awake.set()
        if done:
            self._failures.pop(key, None)
        else:
            self._later(key)

    def _later(self, key: str) -> None:
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        pause = min(FIRST_BACK_OFF * 2.0**count, LONGEST_BACK_OFF)
        self._waiting.pop(key, None)
        self._timers[key] = asyncio.get_running_loop().call_later(pause, self._again, key)

    def _again(self, key: str) -> None:
        del self._timers[key]
        self.put(key)

    def retry(self) -> None:
        """End all back-offs at once, because what most keys wait for has happened."""
        for key, timer in list(self._timers.items()):
            timer.cancel()
            self._again(key)

    def close(self) -> None:
        """Cancel the timers."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
