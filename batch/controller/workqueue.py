"""The queue of servers to look at: each key once, and never two workers for the same key.

Owns deduplication by key, bounded concurrency, and back-off per key. Does not know what the work is.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

FIRST_BACK_OFF: Final = 0.2
LONGEST_BACK_OFF: Final = 30.0


class WorkQueue:
    """Keys that need work. All calls are from one event loop."""

    def __init__(self, *, at_once: int) -> None:
        self._waiting: dict[str, None] = {}
        self._working: set[str] = set()
        self._failures: dict[str, int] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._awake = asyncio.Event()
        self._room = asyncio.Semaphore(at_once)

    def put(self, key: str) -> None:
        """Look at this key soon. A key that is in its back-off waits for that to end."""
        if key not in self._timers:
            self._waiting[key] = None
            self._awake.set()

    async def take(self) -> list[str]:
        """All keys that wait and are not being worked on; waits until there is one."""
        while True:
            await self._awake.wait()
            self._awake.clear()
            keys = [key for key in self._waiting if key not in self._working]
            for key in keys:
                del self._waiting[key]
            if keys:
                return keys

    async def work(self, key: str, task: Callable[[], Awaitable[bool]]) -> None:
        """Do it when there is room. False from the task: it failed for now, the key comes back after its back-off."""
        self._working.add(key)
        try:
            async with self._room:
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
        """What most keys wait for has come: end their back-offs, all at once."""
        for key, timer in list(self._timers.items()):
            timer.cancel()
            self._again(key)

    def close(self) -> None:
        """Forget the timers."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
