"""One HTTP request of a client, carried to an app and its response back.

Owns: the order of things (request body, head, response body), retry on a stale connection, what happens when either
side leaves. Refuses to know header rules and sockets.

Granian facts relied on (2.8, checked in its source): `send` after a disconnect succeeds silently, so a response that
is not whole with its head is watched through `receive`; a response of unknown length whose coroutine returns early
is ended as if it were whole, so the connection is cut instead.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from gateway.tunnel.errors import ClientGoneError, StaleConnectionError, UpstreamError
from gateway.tunnel.headers import CHUNKED, RequestHead
from gateway.tunnel.options import Caller, Scope
from gateway.tunnel.takeover import cut
from gateway.tunnel.upstream import Connection, TruncatedError

if TYPE_CHECKING:
    from gateway.tunnel.tunnel import Way

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
_NO_CONTENT = 204


class Exchange:
    """One request and its response. `run` once."""

    __slots__ = (
        "_body",
        "_connection",
        "_gone",
        "_head",
        "_pump",
        "_receive",
        "_reported",
        "_scope",
        "_send",
        "_started",
        "_unsent",
        "_waiting_since",
        "caller",
        "way",
    )

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, *, way: "Way", caller: Caller, head: RequestHead
    ) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._head = head
        self._body = b""
        self._connection: Connection | None = None
        self._pump: asyncio.Task[None] | None = None
        self._gone = False
        self._started = False
        self._waiting_since = 0.0
        self._reported = 0
        self._unsent = False
        self.way = way
        self.caller = caller

    async def run(self, now: float) -> None:
        """Carry it. Raises UpstreamError when nothing was sent to the client; returns when all is done or it left."""
        self._waiting_since = now
        try:
            if self._head.length:
                await self._prepare_body()
            connection = await self._answered()
            await self._respond(connection)
        except ClientGoneError:
            pass
        except (UpstreamError, TruncatedError) as error:
            if self._gone:
                return
            self.way.stats.upstream_errors += 1
            if not self._started:
                raise
            self.way.log_truncated(error)
            cut(self._scope)
        finally:
            if self._pump is not None:
                self._pump.cancel()
            if self._connection is not None:
                self.way.pool.release(self._connection)

    # The request

    async def _prepare_body(self) -> None:
        """Read a small body whole: one write to the app, and a connection is not held by a slow client."""
        length = self._head.length
        if 0 < length <= self.way.options.body_buffer:
            body = b""
            while len(body) < length:
                message = await self._receive()
                if message["type"] != "http.request":
                    raise ClientGoneError
                body += message.get("body", b"")
                if not message.get("more_body", False):
                    break
            if len(body) != length:
                raise ClientGoneError
            self._body = body

    async def _answered(self) -> Connection:
        """Send the request until an app's head is there."""
        method = self._scope["method"]
        length = self._head.length
        streamed = length == CHUNKED or length > self.way.options.body_buffer
        data = self._head.block
        if length == CHUNKED:
            data += b"Transfer-Encoding: chunked\r\n\r\n"
        elif length or method in ("POST", "PUT", "PATCH"):
            data += b"Content-Length: %d\r\n\r\n" % length + self._body
        else:
            data += b"\r\n"
        self.way.stats.bytes_up += len(self._body)
        retryable = length == 0 and method in _IDEMPOTENT
        pool = self.way.pool
        while True:
            connection = pool.take(retryable=retryable) or await pool.open()
            self._connection = connection
            answered = connection.send(data, bodiless=method == "HEAD")
            if streamed:
                self._unsent = True
                self._pump = asyncio.create_task(self._upload(connection, length))
            await answered
            if connection.head is not None:
                return connection
            error = connection.error
            if self._gone:
                raise ClientGoneError
            if isinstance(error, StaleConnectionError):
                if retryable:
                    self._connection = None
                    pool.release(connection)
                    continue
                error = UpstreamError("before-headers", "a kept connection was closed")
            raise error or UpstreamError("before-headers")

    async def _upload(self, connection: Connection, length: int) -> None:
        """Pass the body on as it comes, then watch for the client leaving."""
        left = length
        more = True
        while more:
            message = await self._receive()
            if message["type"] != "http.request":
                self._leave()
                return
            body = message.get("body", b"")
            more = message.get("more_body", False)
            if body:
                self.way.stats.bytes_up += len(body)
                if length == CHUNKED:
                    body = b"%x\r\n%b\r\n" % (len(body), body)
                else:
                    left -= len(body)
                    if left < 0:
                        self._leave()
                        return
                if connection.lost:
                    return
                connection.moved += len(body)
                self._waiting_since = asyncio.get_running_loop().time()
                connection.transport.write(body)
                await connection.drain()
        if length == CHUNKED:
            connection.transport.write(b"0\r\n\r\n")
        elif left:
            self._leave()
            return
        self._unsent = False
        await self._watch()

    # The response

    async def _respond(self, connection: Connection) -> None:
        head = connection.head
        assert head is not None
        fields = head.fields
        if connection.status == _NO_CONTENT:
            fields = [pair for pair in fields if pair[0] != b"content-length"]
        send = self._send
        stats = self.way.stats
        try:
            await send({"type": "http.response.start", "status": connection.status, "headers": fields})
        except RuntimeError as error:
            # Granian refuses what is not a valid head: a name with a space, a status out of range.
            raise UpstreamError("bad-response", repr(error)) from error
        self._started = True
        if not connection.complete:
            self.watch()
        while True:
            body = connection.take()
            stats.bytes_down += len(body)
            if connection.complete:
                self._connection = None
                if self._unsent:
                    connection.keep = False
                self.way.pool.release(connection)
                await send({"type": "http.response.body", "body": body})
                return
            if body:
                await send({"type": "http.response.body", "body": body, "more_body": True})
            if self._gone:
                raise ClientGoneError
            await connection.wait()

    # Both sides

    def watch(self) -> None:
        """Watch for the client leaving, if nobody does yet."""
        if self._pump is None:
            self._pump = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                self._leave()
                return

    def _leave(self) -> None:
        self._gone = True
        if self._connection is not None:
            self._connection.fail(ClientGoneError())

    def end(self) -> None:
        """End it now, for the client too: access was taken away."""
        cut(self._scope)
        self._leave()

    def tick(self, now: float) -> None:
        """Called about twice a second: watch slow requests, enforce the time-out, note activity."""
        connection = self._connection
        if connection is None:
            return
        if connection.head is None:
            self.watch()
            if now - self._waiting_since > self.way.options.head_timeout:
                connection.fail(UpstreamError("timeout"))
        if connection.moved != self._reported:
            self._reported = connection.moved
            self.way.options.on_activity(self.way.route)
