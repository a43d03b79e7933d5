"""The connections to one route's endpoint: bounded, kept alive, handed out last-in first-out.

Owns: how many there are, who waits for one, when an idle one is too old. Refuses to know requests.
"""

import asyncio
from collections import deque

from gateway.tunnel.cookies import Hidden
from gateway.tunnel.errors import UpstreamError
from gateway.tunnel.opening import open_stream
from gateway.tunnel.options import TunnelOptions
from gateway.tunnel.upstream import Connection
from state.records import Endpoint

_FRESH = 1.0


class Pool:
    """`take` or `open` a connection, use it, `release` it whatever happened."""

    def __init__(self, endpoint: Endpoint, prefix: bytes, hidden: Hidden, options: TunnelOptions) -> None:
        self.endpoint = endpoint
        self.prefix = prefix
        self.hidden = hidden
        self.options = options
        self._loop = asyncio.get_running_loop()
        self._idle: list[Connection] = []
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()
        self._size = 0
        self._closed = False

    def take(self, *, retryable: bool) -> Connection | None:
        """An idle connection, at once; None: open one.

        A request that cannot be sent twice only gets a connection used within the last second,
        unless no more may be opened:
        it is the one that would suffer from the app closing it at this moment (RFC 9112 section 9.5).
        """
        idle = self._idle
        while idle:
            connection = idle[-1]
            if connection.lost or connection.transport.is_closing():
                idle.pop()
                continue
            if (
                not retryable
                and self._loop.time() - connection.idle_since > _FRESH
                and self._size < self.options.pool_size
            ):
                return None
            idle.pop()
            return connection
        return None

    async def open(self) -> Connection:
        """A new connection, or one that becomes free when there may be no more. Raises UpstreamError."""
        while self._size >= self.options.pool_size:
            waiter: asyncio.Future[Connection | None] = self._loop.create_future()
            self._waiting.append(waiter)
            try:
                async with asyncio.timeout(self.options.pool_wait):
                    freed = await waiter
            except TimeoutError:
                raise UpstreamError("busy") from None
            if freed is not None and not freed.lost:
                return freed
        self._size += 1
        try:
            return await open_stream(
                self.endpoint,
                lambda: Connection(self),
                timeout=self.options.connect_timeout,
                identity=self.options.identity,
            )
        except BaseException:
            self._size -= 1
            self._wake(None)
            raise

    def release(self, connection: Connection) -> None:
        """Give a connection back: it is kept if it can be used again, else closed."""
        if not connection.ready_again() or self._closed:
            connection.busy = False
            connection.transport.abort()
            return
        if not self._wake(connection):
            connection.idle_since = self._loop.time()
            self._idle.append(connection)

    def lost(self, connection: Connection) -> None:
        """A connection is gone (called by itself, once)."""
        self._size -= 1
        if connection in self._idle:
            self._idle.remove(connection)
        self._wake(None)

    def _wake(self, connection: Connection | None) -> bool:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return True
        return False

    def sweep(self, now: float) -> bool:
        """Close what was idle for too long; True: nothing is left."""
        limit = now - self.options.idle_timeout
        for connection in [each for each in self._idle if each.idle_since < limit]:
            connection.transport.abort()
        return self._size == 0

    def close(self) -> None:
        """Close idle connections now and those in use when they are released."""
        self._closed = True
        for connection in self._idle:
            connection.transport.abort()
