"""How many sessions may be open on one connection: sshd refuses more than its MaxSessions, 10 by default."""

import asyncio
from types import TracebackType
from typing import Final, Self

FIRST_LIMIT: Final = 8


class Sessions:
    """A limit that shrinks when sshd refuses a session. Each session uses it as an asynchronous context manager."""

    def __init__(self, limit: int = FIRST_LIMIT) -> None:
        self.limit = limit
        self.used = 0
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> Self:
        async with self._changed:
            await self._changed.wait_for(lambda: self.used < self.limit)
            self.used += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.used -= 1
        async with self._changed:
            self._changed.notify_all()

    def refused(self) -> None:
        """Lower the limit below the number in use, because sshd refused the caller's session."""
        self.limit = max(1, min(self.limit, self.used - 1))
