"""The connections to one route's endpoint: bounded, kept alive, handed out last-in first-out.

Owns: how many there are, who waits for one, when an idle one is too old, and the heads that its app repeats. Refuses to
know requests.
"""

import asyncio
from collections import deque

from gateway.tunnel.answers import AnswerHead, Rules, read_head
from gateway.tunnel.errors import UpstreamError
from gateway.tunnel.opening import open_stream
from gateway.tunnel.options import TunnelOptions
from gateway.tunnel.upstream import Connection
from state.records.models import Endpoint

_FRESH = 1.0
_HEADS = 64
_HEAD_MAX = 4096


class Pool:
    """`take` or `open` a connection, use it, `release` it whatever happened."""

    def __init__(self, endpoint: Endpoint, rules: Rules, options: TunnelOptions) -> None:
        """`rules`: which fields of a response cross."""
        self.endpoint = endpoint
        self.options = options
        self.heads: dict[bytes, AnswerHead] = {}  # by their bytes
        self._rules = rules
        self._loop = asyncio.get_running_loop()
        self._idle: list[Connection] = []
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()
        self._size = 0
        self._closed = False

    def read(self, raw: bytes) -> AnswerHead:
        """A response's head that is not among `heads`. Raises UpstreamError."""
        head = read_head(raw, self._rules)
        if len(raw) <= _HEAD_MAX:
            if len(self.heads) >= _HEADS:
                self.heads.clear()
            self.heads[raw] = head
        return head

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
                if waiter.done() and not waiter.cancelled() and (late := waiter.result()) is not None:
                    self.release(late)  # it came free in the same moment
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
        if not connection.keep or connection.lost or self._closed:
            if not connection.lost:
                connection.transport.abort()
            return
        connection.used = True
        if connection.read_paused:
            connection.resume()
        if not self._waiting or not self._wake(connection):
            connection.idle_since = self._loop.time()
            self._idle.append(connection)

    def lost(self) -> None:
        """Note that a connection is gone: it calls this once. `take` and `sweep` pass over those that were idle."""
        self._size -= 1
        self._wake(None)

    def _wake(self, connection: Connection | None) -> bool:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return True
        return False

    def sweep(self, now: float) -> bool:
        """Close connections that were idle for too long, and return whether none is left."""
        limit = now - self.options.idle_timeout
        kept = []
        for connection in self._idle:
            if connection.lost or connection.transport.is_closing():
                continue
            if connection.idle_since < limit:
                connection.transport.abort()
            else:
                kept.append(connection)
        self._idle = kept
        return self._size == 0

    def close(self) -> None:
        """Close idle connections now and those in use when they are released."""
        self._closed = True
        for connection in self._idle:
            connection.transport.abort()
