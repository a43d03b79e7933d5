"""Limits how many sign-ins a worker handles at the same time, and how many wait."""

import asyncio

from portal.site.sign_in import UnansweredError


class Turns:
    """`async with turns:` waits for a turn. Raises UnansweredError if too many are waiting already."""

    def __init__(self, at_once: int, most: int) -> None:
        """`most`: the maximum of those that have a turn and those that wait, together."""
        self._turns = asyncio.Semaphore(at_once)
        self._most = most
        self._entered = 0

    async def __aenter__(self) -> None:
        if self._entered >= self._most:
            raise UnansweredError("Too many users are signing in right now. Try again in a moment.", untried=True)
        self._entered += 1
        try:
            await self._turns.acquire()
        except BaseException:
            self._entered -= 1
            raise

    async def __aexit__(self, *_: object) -> None:
        self._entered -= 1
        self._turns.release()
