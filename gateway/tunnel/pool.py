"""The connections to one endpoint: bounded in number and for each client, kept alive, reused last-in first-out.

Owns how many connections there are, who waits for one, and when an idle one is too old. Does not know about requests.

A client is a user, a service, or the address of an unauthenticated client. Each may have `per_client` connections
in use, and those of one client that want more wait for each other. Freed connections go to the waiting clients in turn,
so that a client with many requests holds up nobody else.
"""

import asyncio
import contextlib
import select
from collections import deque
from typing import Final

from gateway.tunnel.answers import Rules
from gateway.tunnel.errors import UpstreamError
from gateway.tunnel.head_cache import HeadCache
from gateway.tunnel.opening import open_stream
from gateway.tunnel.options import TunnelOptions
from gateway.tunnel.upstream import Connection
from state.records.models import Endpoint

_FRESH: Final = 1.0
_WAITING_MAX: Final = 256
"""Most requests of one client that wait for a connection; more are refused at once."""


def is_readable(transport: asyncio.Transport) -> bool:
    """Return whether bytes or the end of a socket's connection wait for the event loop, which has not seen them yet."""
    socket = transport.get_extra_info("socket")
    if socket is None:
        return False
    waiting = select.poll()
    waiting.register(socket.fileno(), select.POLLIN)
    return bool(waiting.poll(0))


class Share:
    """What one client has of a pool: `used` connections, and its requests that wait for one."""

    __slots__ = ("used", "waiting")

    def __init__(self) -> None:
        self.used = 0
        self.waiting: deque[asyncio.Future[PooledConnection | None]] = deque()


class PooledConnection(Connection):
    """A connection of a pool, and in whose use it is."""

    __slots__ = ("share",)

    def __init__(self, options: TunnelOptions, heads: HeadCache, share: Share) -> None:
        super().__init__(options, heads.heads, heads.read)
        self.share = share


class Pool:
    """`take` or `open` a connection, use it, and `release` it whatever happened."""

    def __init__(self, endpoint: Endpoint, rules: Rules, options: TunnelOptions, *, size: int) -> None:
        """`rules`: which fields of a response cross. `size`: most connections, in use and idle."""
        self._endpoint = endpoint
        self._options = options
        self._max = size
        self._per_client = options.per_client
        self._heads = HeadCache(rules)
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time
        self._idle: list[PooledConnection] = []
        self._shares: dict[str, Share] = {}
        self._ready: dict[Share, None] = {}  # those that wait and may have another connection, in turn
        self._size = 0
        self._waiting = 0  # requests of all clients that wait
        self._closed = False

    def take(self, client: str, *, retryable: bool) -> PooledConnection | None:
        """Return an idle connection, or None: `open` one.

        A request that cannot be sent twice gets a connection only if it was used within the last second and its end has
        not arrived, or if no more may be opened: such a request would suffer from the app closing the connection now
        (RFC 9112 section 9.5).
        """
        share = self._shares.get(client)
        if share is None:
            share = self._shares[client] = Share()
        if share.used >= self._per_client:
            return None
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.lost or connection.transport.is_closing():
                continue
            if not retryable and self._size < self._max:
                if self._now() - connection.idle_since > _FRESH:
                    idle.append(connection)
                    return None
                if is_readable(connection.transport):  # nothing else arrives on an idle connection
                    continue
            connection.share = share
            share.used += 1
            return connection
        return None

    async def open(self, client: str) -> PooledConnection:
        """Return a new connection, or one that is freed where no more may be opened. Raises UpstreamError."""
        share = self._shares.setdefault(client, Share())
        while share.used >= self._per_client or self._size >= self._max:
            freed = await self._wait(share)
            if freed is None:
                break
            if not freed.lost and not freed.transport.is_closing():
                return freed
            self.release(freed)
        else:
            self._size += 1
            share.used += 1
        try:
            connection = await open_stream(
                self._endpoint,
                lambda: PooledConnection(self._options, self._heads, share),
                ways_in=self._options.ways_in,
                timeout=self._options.connect_timeout,
            )
            if connection.lost:
                raise UpstreamError("before-headers", "the connection was closed at once")
        except BaseException:
            self._size -= 1
            self._return(share)
            raise
        connection.on_lost = self._lost  # not before: a connection that failed to open is not counted
        return connection

    async def _wait(self, share: Share) -> PooledConnection | None:
        """Wait until this client may use one more connection: a freed one, or (None) one to be opened.

        Whichever it is has been counted. Raises UpstreamError.
        """
        if len(share.waiting) >= _WAITING_MAX:
            raise self._busy(share)
        waiter: asyncio.Future[PooledConnection | None] = self._loop.create_future()
        share.waiting.append(waiter)
        self._note(share)
        self._waiting += 1
        try:
            async with asyncio.timeout(self._options.pool_wait):
                return await waiter
        except TimeoutError:
            self._give_up(share, waiter)
            raise self._busy(share) from None
        except BaseException:
            self._give_up(share, waiter)
            raise
        finally:
            self._waiting -= 1

    def _busy(self, share: Share) -> UpstreamError:
        return UpstreamError("too-many" if share.used >= self._per_client else "busy")

    def _give_up(self, share: Share, waiter: "asyncio.Future[PooledConnection | None]") -> None:
        """Stop waiting. A connection that became free in the same moment goes to the next client."""
        if waiter.done() and not waiter.cancelled():
            connection = waiter.result()
            if connection is None:
                self._size -= 1
                self._return(share)
            else:
                self.release(connection)
            return
        with contextlib.suppress(ValueError):
            share.waiting.remove(waiter)
        if not share.waiting:
            self._ready.pop(share, None)

    def _note(self, share: Share) -> None:
        """Put a share into the queue of those that may have another connection, if it is one."""
        if share.waiting and share.used < self._per_client:
            self._ready[share] = None

    def release(self, connection: PooledConnection) -> None:
        """Return a connection to the pool: keep it if it can be used again, otherwise close it."""
        if connection.keep and not connection.lost and not self._closed:
            connection.used = True
            if connection.read_paused:
                connection.resume()
            connection.idle_since = self._now()
            self._idle.append(connection)
        elif not connection.lost:
            connection.transport.abort()
        share = connection.share
        share.used -= 1
        if self._waiting:
            self._note(share)
            self._serve()

    def _return(self, share: Share) -> None:
        """One connection less of this client is in use."""
        share.used -= 1
        self._note(share)
        self._serve()

    def _lost(self) -> None:
        """Note that a connection is gone: it calls this once. `take` and `sweep` pass over those that were idle."""
        self._size -= 1
        if self._waiting:
            self._serve()

    def _serve(self) -> None:
        """Give what is free to the clients that wait, one each in turn."""
        while self._ready:
            share = next(iter(self._ready))
            if not share.waiting:
                del self._ready[share]
                continue
            first = share.waiting[0]
            if first.done():  # it has just given up
                del share.waiting[0]
                continue
            connection = self._pop_idle()
            if connection is None and self._size >= self._max:
                return
            del self._ready[share]
            del share.waiting[0]
            share.used += 1
            if connection is None:
                self._size += 1
            else:
                connection.share = share
            first.set_result(connection)
            self._note(share)

    def _pop_idle(self) -> PooledConnection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.lost and not connection.transport.is_closing():
                return connection
        return None

    def sweep(self, now: float) -> bool:
        """Close connections that were idle for too long, and return whether none is left."""
        limit = now - self._options.idle_timeout
        kept = []
        for connection in self._idle:
            if connection.lost or connection.transport.is_closing():
                continue
            if connection.idle_since < limit:
                connection.transport.abort()
            else:
                kept.append(connection)
        self._idle = kept
        self._shares = {client: share for client, share in self._shares.items() if share.used or share.waiting}
        return self._size == 0

    def forget_heads(self) -> None:
        """Clear the cache of response heads, because the rules have changed."""
        self._heads.heads.clear()

    def close(self) -> None:
        """Close idle connections now, and those in use when they are released."""
        self._closed = True
        for connection in self._idle:
            connection.transport.abort()
