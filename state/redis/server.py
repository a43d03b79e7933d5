"""The connections to a single Redis server, or to the master that a Sentinel names.

Owns reconnection. Does not know URLs, scripts or the meaning of error replies.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final

from state.redis.connection import Address, Command, Line, ReplyError

WAIT_MARGIN: Final = 2.0
"""Seconds after the timeout of a blocking command at which its connection is closed."""
IDLE_WAITERS: Final = 32


class SingleServer:
    """A single server: one connection that all callers share, and separate ones for blocking commands.

    Its address is looked up for every new connection, because a Sentinel may have promoted another server.
    """

    one_server = True

    def __init__(self, find: Callable[[], Awaitable[Address]]) -> None:
        self._find = find
        self._line: Line | None = None
        self._opening: asyncio.Task[Line] | None = None
        self._idle: list[Line] = []
        self._closed = False
        self.losses = 0

    async def send(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands and return the replies in order. Error replies are returned as values."""
        line = self._line
        if line is None or line.lost is not None:
            line = await self._shared()
        replies = await line.send(commands)
        for reply in replies:
            if isinstance(reply, ReplyError) and str(reply).startswith("READONLY"):
                line.close()  # the server is a replica now: the next caller looks for the master
                break
        return replies

    async def wait(self, command: Command, seconds: float) -> Any:
        """Run a blocking command on a separate connection."""
        line = await self._own()
        try:
            async with asyncio.timeout(seconds + WAIT_MARGIN):
                replies = await line.send((command,))
        except OSError:  # includes timeouts
            if not self._closed:
                self.losses += 1
            raise
        finally:
            if not line.quiet:  # the caller or the server is gone, and nobody reads a late reply
                line.close()
        if len(self._idle) < IDLE_WAITERS and not self._closed:
            self._idle.append(line)
        else:
            line.close()
        return replies[0]

    async def scan(self, match: str, count: int) -> AsyncIterator[list[bytes]]:
        """Yield names of keys in batches. A name may occur twice (SCAN)."""
        cursor: Any = 0
        while True:
            reply = (await self.send((("SCAN", cursor, "MATCH", match, "COUNT", count),)))[0]
            if isinstance(reply, Exception):
                raise reply
            cursor, names = reply
            if names:
                yield names
            if int(cursor) == 0:
                return

    async def close(self) -> None:
        """Close every connection."""
        self._closed = True
        if self._opening is not None:
            self._opening.cancel()
        for line in (self._line, *self._idle):
            if line is not None:
                line.close()
        self._idle.clear()
        await asyncio.sleep(0)  # lets the loop close the sockets

    async def _shared(self) -> Line:
        """Return the shared connection. The first caller to find it lost reconnects, and the others wait for that."""
        if self._closed:
            raise ConnectionError("closed")
        if self._opening is None:
            if self._line is not None:
                self.losses += 1
            self._opening = asyncio.get_running_loop().create_task(self._open())
            self._opening.add_done_callback(self._opened)
        return await asyncio.shield(self._opening)

    def _opened(self, task: asyncio.Task[Line]) -> None:
        self._opening = None
        if not task.cancelled() and task.exception() is None:
            self._line = task.result()
            if self._closed:
                self._line.close()

    async def _open(self) -> Line:
        return await Line.open(await self._find())

    async def _own(self) -> Line:
        while self._idle:
            line = self._idle.pop()
            if line.lost is None:
                return line
            self.losses += 1
        if self._closed:
            raise ConnectionError("closed")
        return await Line.open(await self._find(), patience=0)
