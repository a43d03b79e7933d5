"""One HTTP request of a client, carried to an app and its response back, in callbacks: no task where none must wait.

Owns: the order of things (request body, head, response body), retry on a stale connection, what happens when either
side leaves or is slow. Refuses to know header rules and how bytes are framed on arrival.

It stands between two connections and writes what one gets to the other: `gateway.wire.client` calls `body` and
`client_...`, `gateway.tunnel.upstream` calls `head`, `content`, `whole`, `over`, `failed` and `app_...`.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from gateway.tunnel.answers import AnswerHead
from gateway.tunnel.errors import StaleConnectionError, UpstreamError
from gateway.tunnel.options import Caller
from gateway.tunnel.upstream import Connection
from gateway.wire.chunks import LAST, chunk
from gateway.wire.framing import CHUNKED, UNTIL_CLOSE
from gateway.wire.request import Request

if TYPE_CHECKING:
    from gateway.tunnel.way import Way

_IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})
_READING: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE"})
_WITH_BODY: Final = frozenset({b"POST", b"PUT", b"PATCH"})
_ONE_WRITE: Final = 16 * 1024

Refuse = Callable[[Request, UpstreamError], None]
"""Answers a request that could not be carried; nothing was sent to the client yet."""


class Exchange:
    """One request and its response. `start` once."""

    __slots__ = (
        "_block",
        "_buffered",
        "_chunked_down",
        "_client",
        "_connection",
        "_opening",
        "_refuse",
        "_reported",
        "_request",
        "_retryable",
        "_since",
        "_started",
        "_streamed",
        "_unsent",
        "_when_over",
        "caller",
        "events",
        "extra",
        "moved",
        "way",
    )

    def __init__(
        self,
        request: Request,
        block: bytes,
        *,
        way: "Way",
        caller: Caller | None,
        refuse: Refuse,
        when_over: Callable[[], object] | None = None,
        extra: bytes = b"",
    ) -> None:
        """`block`: the head for the app, without framing and blank line. `caller` None: not ended by `close_where`.

        `extra`: header lines of our own for the client.
        """
        self._request = request
        self._client = request.client
        self._block = block
        self._refuse = refuse
        self._connection: Connection | None = None
        self._when_over = when_over
        self._opening: asyncio.Task[None] | None = None
        self._buffered: list[bytes] | None = None  # of a small body, until it is whole
        self._unsent = False  # a part of the request's body is still to be sent
        self._streamed = False
        self._started = False  # something was sent to the client
        self._chunked_down = False
        self._since = 0.0
        self._reported = 0
        self._retryable = False
        self.events = False  # the response is a stream of events, and has begun
        self.moved = 0  # bytes that came from the app, and of a streamed body to it
        self.way = way
        self.caller = caller
        self.extra = extra

    @property
    def writing(self) -> bool:
        """Whether the request is of a method that may change something."""
        return self._request.method not in _READING

    def start(self) -> None:
        """Carry it."""
        request = self._request
        length = request.head.length
        self._client.attach(self)
        if not length:
            method = request.method
            self._retryable = method in _IDEMPOTENT
            self._send(self._block + (b"content-length: 0\r\n\r\n" if method in _WITH_BODY else b"\r\n"))
        elif 0 < length <= self.way.options.body_buffer:
            # Read whole first: one write to the app, and a connection is not held by a slow client.
            self._buffered = []
            self._since = self.way.loop.time()
            self._client.want_body()
        else:
            self._streamed = self._unsent = True
            framing = b"transfer-encoding: chunked" if length == CHUNKED else b"content-length: %d" % length
            self._send(self._block + framing + b"\r\n\r\n")

    # --- to the app -----------------------------------------------------------------------------------------

    def _send(self, data: bytes) -> None:
        """The head, and a body that is whole, on a kept connection if there is one."""
        self._block = data  # it may have to be sent again
        connection = self.way.pool.take(retryable=self._retryable)
        if connection is None:
            self._opening = self.way.loop.create_task(self._open())
        else:
            self._sent(connection, data)

    async def _open(self) -> None:
        try:
            connection = await self.way.pool.open()
        except UpstreamError as error:
            if self._request.open:
                self.failed(error)
            return
        finally:
            self._opening = None
        if self._request.open:
            self._sent(connection, self._block)
        else:
            self.way.pool.release(connection)

    def _sent(self, connection: Connection, data: bytes) -> None:
        self._connection = connection
        connection.begin(self, data, bodiless=self._request.method == b"HEAD")
        if self._client.write_paused:
            connection.pause()
        if self._streamed:
            self._client.want_body()

    def body(self, data: bytes) -> None:
        """From the client: a part of the request's body."""
        size = len(data)
        self.way.stats.bytes_up += size
        if self._buffered is not None:
            self._buffered.append(data)
            self._since = self.way.loop.time()
            return
        connection = self._connection
        if connection is None or connection.lost:
            return
        self.moved += size
        self._since = self.way.loop.time()
        if self._request.head.length == CHUNKED:
            connection.transport.writelines(chunk(data))
        else:
            connection.transport.write(data)

    def body_end(self) -> None:
        """From the client: the request's body is whole."""
        if self._buffered is not None:
            body, self._buffered = b"".join(self._buffered), None
            self._send(b"%bcontent-length: %d\r\n\r\n%b" % (self._block, len(body), body))
            return
        self._unsent = False
        self._client.unhold()
        connection = self._connection
        if connection is not None and not connection.lost and self._request.head.length == CHUNKED:
            connection.transport.write(LAST)

    def app_paused(self) -> None:
        """The app reads slowly."""
        if self._unsent:
            self._client.hold()

    def app_resumed(self) -> None:
        """Go on."""
        if self._unsent:
            self._client.unhold()

    # --- to the client --------------------------------------------------------------------------------------

    def whole(self, head: AnswerHead, body: bytes) -> None:
        """From the app: a head with all of its body."""
        client = self._client
        self.way.stats.bytes_down += len(body)
        self._release()
        first = self._first(head, close=client.ends)
        if len(body) < _ONE_WRITE:
            client.transport.write(first + body)
        else:
            client.transport.writelines((first, body))
        self._ended()
        client.done()

    def _first(self, head: AnswerHead, *, close: bool) -> bytes:
        request = self._request
        if not close and request.method != b"HEAD":
            first = head.usual()
        else:
            first = head.special(close=close, bodiless=request.method == b"HEAD", modern=request.head.modern)
        extra = self.extra + self._client.response_fields
        return first.replace(b"\r\n", b"\r\n" + extra, 1) if extra else first

    def head(self, head: AnswerHead, body: bytes) -> None:
        """From the app: a head, and the beginning of a body of which more is to come."""
        self._started = True
        self.events = head.events
        self._chunked_down = self._request.head.modern and head.length in (CHUNKED, UNTIL_CLOSE)
        # A request's body that is still to come does not end the connection yet: it may be whole by the end.
        first = self._first(head, close=self._client.ends and not self._unsent)
        self.way.stats.bytes_down += len(body)
        if body:
            self._client.transport.writelines((first, body))
        else:
            self._client.transport.write(first)

    def content(self, data: bytes) -> None:
        """From the app: more of the body."""
        self.way.stats.bytes_down += len(data)
        if self._chunked_down:
            self._client.transport.writelines(chunk(data))
        else:
            self._client.transport.write(data)

    def over(self, data: bytes) -> None:
        """From the app: the end of the body."""
        if data:
            self.content(data)
        self._release()
        if self._chunked_down:
            self._client.transport.write(LAST)
        self._ended()
        self._client.done()

    def client_paused(self) -> None:
        """The client reads slowly."""
        if self._connection is not None:
            self._connection.pause()

    def client_resumed(self) -> None:
        """Go on."""
        if self._connection is not None:
            self._connection.resume()

    # --- ends -----------------------------------------------------------------------------------------------

    def _release(self) -> None:
        connection, self._connection = self._connection, None
        assert connection is not None
        if self._unsent:
            connection.keep = False
        self.way.pool.release(connection)

    def _ended(self) -> None:
        self.way.ended(self)
        if self._when_over is not None:
            self._when_over()
            self._when_over = None

    def failed(self, error: Exception) -> None:
        """From the app: there will be no more."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self.way.pool.release(connection)
        if isinstance(error, StaleConnectionError):
            if self._retryable:
                self._send(self._block)
                return
            error = UpstreamError("before-headers", "a kept connection was closed")
        self.way.stats.upstream_errors += 1
        self._ended()
        client = self._client
        if not self._started and isinstance(error, UpstreamError):
            self._refuse(self._request, error)
            return
        self.way.log_truncated(error)
        # HTTP/1.0 ends a body by closing: only a reset tells an end from a break.
        if self._request.head.modern:
            client.break_off()
        else:
            client.cut(reset=True)

    def client_gone(self) -> None:
        """From the client: it left."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.leave()
            self.way.pool.release(connection)
        self._ended()

    def end(self) -> None:
        """End it now, for the client too: access was taken away."""
        self._client.cut(reset=not self._request.head.modern)

    def tick(self, now: float) -> None:
        """Called about twice a second: enforce the time-out, note activity."""
        connection = self._connection
        if connection is None:
            if self._buffered is not None and now - self._since > self.way.options.body_timeout:
                self._client.cut()
            return
        if connection.head is None:
            if not self._since:
                self._since = now
            if now - self._since > self.way.options.head_timeout:
                connection.fail(UpstreamError("timeout"))
        if self.moved != self._reported:
            self._reported = self.moved
            self.way.active()
