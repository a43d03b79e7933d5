"""One HTTP request of a client, carried to an app and its response back, without a task where nothing must wait.

Owns how the request goes to the app: its body buffered or streamed, the connection from the pool, and the retry on a
stale one. The response is `gateway.tunnel.relay`'s.
"""

import asyncio
from typing import Final

from gateway.tunnel.errors import StaleConnectionError, UpstreamError
from gateway.tunnel.pool import PooledConnection
from gateway.tunnel.relay import Relay
from gateway.wire.chunks import LAST, chunk
from gateway.wire.framing import CHUNKED

_IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})
_WITH_BODY: Final = frozenset({b"POST", b"PUT", b"PATCH"})


class Exchange(Relay):
    """One request and its response. `start` once."""

    __slots__ = ("_block", "_buffered", "_opening", "_retryable", "_source", "_streamed", "_unsent")

    _connection: PooledConnection | None

    def start(self, block: bytes, *, source: str) -> None:
        """Start. `block`: the head for the app, without framing and blank line. `source`: the key of the connections.

        Attributes are set here and not in a constructor, whose call would cost each request a microsecond.
        """
        self._source = source
        self._opening: asyncio.Task[None] | None = None
        self._buffered: list[bytes] | None = None  # of a small body, until it is complete
        self._unsent = False  # a part of the request's body is still to be sent
        self._streamed = False
        request = self._request
        length = request.head.length
        method = request.method
        self._client.attach(self)
        self._retryable = not length and method in _IDEMPOTENT
        if not length:
            self._send(block + (b"content-length: 0\r\n\r\n" if method in _WITH_BODY else b"\r\n"))
        elif 0 < length <= self.way.options.body_buffer:
            # Read completely first: one write to the app, and a slow client holds no connection.
            self._block = block
            self._buffered = []
            self._client.read_body()
        else:
            self._streamed = self._unsent = True
            framing = b"transfer-encoding: chunked" if length == CHUNKED else b"content-length: %d" % length
            self._send(block + framing + b"\r\n\r\n")

    # --- to the app -----------------------------------------------------------------------------------------

    def _send(self, data: bytes) -> None:
        """Send the head, and a body that is complete, on an idle connection if there is one."""
        self._block = data  # it may have to be repeated
        connection = self.way.pool.take(self._source, retryable=self._retryable)
        if connection is None:
            self._opening = self.way.loop.create_task(self._open())
        else:
            self._sent(connection, data)

    async def _open(self) -> None:
        try:
            connection = await self.way.pool.open(self._source)
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

    def _sent(self, connection: PooledConnection, data: bytes) -> None:
        self._connection = connection
        connection.begin(self, data, bodiless=self._request.method == b"HEAD")
        if self._client.write_paused:
            connection.pause()
        if self._streamed:
            self._client.read_body()

    def body_received(self, data: bytes) -> None:
        """See `Sink`."""
        size = len(data)
        self.way.stats.bytes_up += size
        if self._buffered is not None:
            self._buffered.append(data)
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

    def body_complete(self) -> None:
        """See `Sink`."""
        if self._buffered is not None:
            body, self._buffered = b"".join(self._buffered), None
            self._send(b"%bcontent-length: %d\r\n\r\n%b" % (self._block, len(body), body))
            return
        self._unsent = False
        self._client.resume_body()
        connection = self._connection
        if connection is not None and not connection.lost and self._request.head.length == CHUNKED:
            connection.transport.write(LAST)

    def app_paused(self) -> None:
        """See `Receiver`."""
        if self._unsent:
            self._client.pause_body()

    def app_resumed(self) -> None:
        """See `Receiver`."""
        if self._unsent:
            self._client.resume_body()

    def _body_to_come(self) -> bool:
        return self._unsent

    def failed(self, error: Exception) -> None:
        """See `Receiver`."""
        if isinstance(error, StaleConnectionError):
            if self._retryable:
                self._release()
                self._send(self._block)
                return
            error = UpstreamError("before-headers", "a kept connection was closed")
        super().failed(error)

    def client_gone(self) -> None:
        """See `Sink`."""
        if self._opening is not None:
            self._opening.cancel()  # it may be waiting for a connection
        super().client_gone()

    def _release(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._unsent:
            connection.keep = False
        self.way.pool.release(connection)
