"""So many at a time, and so many who wait: a bound on what a crowd at the sign-in page can make one worker do.

Owns: the queue. Refuses to know what for.
"""

import asyncio

from portal.site.sign_in import UnansweredError


class Turns:
    """`async with turns:` waits for one. Raises UnansweredError when too many wait already."""

    def __init__(self, at_once: int, most: int) -> None:
        """`most`: those whose turn it is, and those who wait, together."""
        self._turns = asyncio.Semaphore(at_once)
        self._most = most
        self._here = 0

    async def __aenter__(self) -> None:
        if self._here >= self._most:
            raise UnansweredError("Very many people are signing in just now. Try again in a moment.", untried=True)
        self._here += 1
        try:
            await self._turns.acquire()
        except BaseException:
            self._here -= 1
            raise

    async def __aexit__(self, *_: object) -> None:
        self._here -= 1
        self._turns.release()
