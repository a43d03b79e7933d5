"""One HTTP/1.1 connection to an app: a request's bytes in, a checked response head and body out.

Owns: where a response's head and body end, and the verdict whether the connection can be used again. Refuses to know
the client: an exchange is told of each part as it comes.

A head that is byte for byte one of the last few of its pool is not read again (`answers.read_head` is pure).

Source: RFC 9112 sections 6, 9.
"""

import asyncio
from typing import TYPE_CHECKING, cast

from gateway.tunnel.answers import AnswerHead
from gateway.tunnel.errors import StaleConnectionError, TruncatedError, UpstreamError
from gateway.wire.chunks import Chunks
from gateway.wire.framing import CHUNKED, UNTIL_CLOSE
from gateway.wire.receive_buffer import ReceiveBuffer

if TYPE_CHECKING:
    from gateway.tunnel.exchange import Exchange
    from gateway.tunnel.pool import Pool

_FIRST_FINAL = 200


class Connection(asyncio.Protocol):
    """Used by one exchange at a time: `begin`; the exchange is told `head`, `content`, and `over` or `failed`."""

    __slots__ = (
        "_bodiless",
        "_buffer",
        "_chunks",
        "_head_bytes",
        "_left",
        "_pool",
        "exchange",
        "head",
        "idle_since",
        "keep",
        "lost",
        "read_paused",
        "transport",
        "used",
        "write_paused",
    )

    def __init__(self, pool: "Pool") -> None:
        self._pool = pool
        self._buffer = ReceiveBuffer()  # heads that are not complete
        self._head_bytes = 0  # of the heads of this response so far
        self._bodiless = False
        self._left = 0  # of a counted body, or UNTIL_CLOSE, or CHUNKED
        self._chunks: Chunks | None = None
        self.read_paused = False
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)
        self.exchange: Exchange | None = None
        self.head: AnswerHead | None = None
        self.keep = True
        self.lost = False
        self.idle_since = 0.0
        self.used = False
        self.write_paused = False

    # --- the exchange's side --------------------------------------------------------------------------------

    def begin(self, exchange: "Exchange", data: bytes, *, bodiless: bool) -> None:
        """Send a request. `bodiless`: it is a HEAD."""
        self.exchange = exchange
        self._bodiless = bodiless
        self._head_bytes = 0
        self.head = None
        self.transport.write(data)

    def fail(self, error: Exception) -> None:
        """End the exchange and the connection with `error`."""
        exchange, self.exchange = self.exchange, None
        self.keep = False
        self.transport.abort()
        if exchange is not None:
            exchange.failed(error)

    def leave(self) -> None:
        """The exchange is over before its end: the connection is of no more use."""
        self.exchange = None
        self.keep = False
        self.transport.abort()

    def pause(self) -> None:
        """The client is slow: read no more just now."""
        if not self.read_paused and not self.lost:
            self.read_paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        """Go on."""
        if self.read_paused:
            self.read_paused = False
            if not self.lost and not self.transport.is_closing():
                self.transport.resume_reading()

    # --- the transport's side -------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(self._pool.options.buffer_limit)

    def data_received(self, data: bytes) -> None:
        """Take bytes from the app."""
        exchange = self.exchange
        if exchange is None:
            # Bytes that nobody asked for: the answer to something smuggled, or noise. Either way the end.
            self.keep = False
            self.transport.abort()
            return
        exchange.moved += len(data)
        left = self._left
        if left > 0:
            size = len(data)
            if size < left:
                self._left = left - size
                exchange.content(data)
                return
            self._left = 0
            if size > left:
                self.keep = False
                data = data[:left]
            self.exchange = None
            exchange.over(data)
        elif not left:
            try:
                self._read_heads(exchange, data)
            except UpstreamError as error:
                self.fail(error)
        elif left == UNTIL_CLOSE:
            exchange.content(data)
        else:
            self._chunk(exchange, data)

    def _read_heads(self, exchange: "Exchange", data: bytes) -> None:
        """Read heads up to and including the final one. Raises UpstreamError.

        Informational ones are dropped (RFC 9110 section 15.2). `head_limit` bounds all heads of a response together,
        as in Go's net/http: an app may not send 1xx without end.
        """
        pool, buffer = self._pool, self._buffer
        limit = pool.options.head_limit
        if not buffer:
            end = data.find(b"\r\n\r\n") + 4
            if 4 <= end <= limit:  # noqa: PLR2004 - found
                raw = data[:end]
                head = pool.heads.get(raw) or pool.read(raw)
                if head.status >= _FIRST_FINAL:
                    self._answer(exchange, head, data[end:])
                    return
        buffer.append(data)
        while end := buffer.find_head_end():
            self._head_bytes += end
            if self._head_bytes > limit:
                break
            raw = buffer.take(end)
            head = pool.heads.get(raw) or pool.read(raw)
            if head.status >= _FIRST_FINAL:
                self._answer(exchange, head, buffer.take_all())
                return
        if self._head_bytes + len(buffer) > limit:
            raise UpstreamError("bad-response", "the head is too large")

    def _answer(self, exchange: "Exchange", head: AnswerHead, data: bytes) -> None:
        """The final head is there, and what came with it of the body."""
        self.head = head
        if not head.keep:
            self.keep = False
        length = 0 if self._bodiless or head.bodiless else head.length
        if 0 <= length <= len(data):
            if len(data) > length:
                self.keep = False
                data = data[:length]
            self.exchange = None
            exchange.whole(head, data)
        elif length > 0:
            self._left = length - len(data)
            exchange.head(head, data)
        else:
            self._left = length
            self._chunks = Chunks() if length == CHUNKED else None
            exchange.head(head, b"")
            if data and self._chunks is not None:
                self._chunk(exchange, data)
            elif data:
                exchange.content(data)

    def _chunk(self, exchange: "Exchange", data: bytes) -> None:
        chunks = self._chunks
        assert chunks is not None
        try:
            data = chunks.feed(data)
        except ValueError as error:
            self.fail(TruncatedError(str(error)))
            return
        if not chunks.done:
            if data:
                exchange.content(data)
            return
        if chunks.rest:
            self.keep = False
        self._chunks = self.exchange = None
        self._left = 0
        exchange.over(data)

    def eof_received(self) -> None:
        """Let the transport close."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Say what the end means for the exchange."""
        self.lost = True
        self.keep = False
        exchange, self.exchange = self.exchange, None
        self._pool.lost()
        if exchange is None:
            return
        if self.head is None:
            if not exchange.moved and self.used:
                exchange.failed(StaleConnectionError())
            else:
                exchange.failed(UpstreamError("before-headers", repr(exc)))
        elif self._left == UNTIL_CLOSE and exc is None:
            exchange.over(b"")
        else:
            exchange.failed(TruncatedError(repr(exc)))

    def pause_writing(self) -> None:
        """The app reads slower than the client sends."""
        self.write_paused = True
        if self.exchange is not None:
            self.exchange.app_paused()

    def resume_writing(self) -> None:
        """Go on."""
        self.write_paused = False
        if self.exchange is not None:
            self.exchange.app_resumed()
