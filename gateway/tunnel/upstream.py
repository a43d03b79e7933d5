"""One HTTP/1.1 connection to an app: a request's bytes in, a checked response head and body out.

Owns: response framing (llhttp for heads and chunks; bodies of a known length are counted here, unparsed), the
pauses in both directions, and the verdict whether the connection can be used again. Refuses
to know the client and ASGI.

Source: RFC 9112 sections 6, 9.
"""

import asyncio
from typing import TYPE_CHECKING, cast

from httptools import HttpParserError, HttpResponseParser

from gateway.tunnel.errors import StaleConnectionError, UpstreamError
from gateway.tunnel.headers import CHUNKED, UNTIL_CLOSE, ResponseHead, response_head

if TYPE_CHECKING:
    from gateway.tunnel.pool import Pool

_NO_BODY = (204, 304)
_FIRST_FINAL = 200
_SWITCHING = 101


class TruncatedError(Exception):
    """The app's response ended before its body was whole. Never leaves the tunnel."""


class Connection(asyncio.Protocol):
    """Used by one exchange at a time: `send`, then `wait` and `take` until `complete`, then `Pool.release`."""

    def __init__(self, pool: "Pool") -> None:
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._parser = HttpResponseParser(self)
        self._limit = pool.options.buffer_limit
        self._writable: asyncio.Future[None] | None = None
        self._read_paused = False
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)
        self.lost = False
        self.idle_since = 0.0
        self.used = False
        self.busy = False
        self.reset()

    def reset(self) -> None:
        """Forget the last exchange."""
        self._waiter: asyncio.Future[None] | None = None
        self._parts: list[bytes] = []
        self._buffered = 0
        self._fields: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._bodiless = False
        self._remaining = 0  # of a counted body; UNTIL_CLOSE: all there is; 0: the parser decides
        self._fresh_parser = False
        self.status = 0
        self.head: ResponseHead | None = None
        self.keep = False
        self.complete = False
        self.error: Exception | None = None
        self.moved = 0

    # The exchange's side

    def send(self, data: bytes, *, bodiless: bool) -> asyncio.Future[None]:
        """Begin an exchange; the future is done when `head` or `error` is there. `bodiless`: a HEAD request."""
        self.busy = True
        self._bodiless = bodiless
        self._waiter = waiter = self._loop.create_future()
        if self.lost:
            self.error = StaleConnectionError()
            waiter.set_result(None)
        else:
            self.transport.write(data)
        return waiter

    async def drain(self) -> None:
        """Wait until the transport takes more of the request."""
        if self._writable is not None:
            await asyncio.shield(self._writable)

    async def wait(self) -> None:
        """Wait until there is something to take, or the end. Raises what ended the response early."""
        if self._parts or self.complete:
            return
        if self.error is not None:
            raise self.error
        self._waiter = self._loop.create_future()
        await self._waiter
        if self.error is not None and not self._parts:
            raise self.error

    def take(self) -> bytes:
        """What came of the body since the last call, in one piece."""
        parts = self._parts
        if not parts:
            return b""
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        self._parts = []
        self._buffered = 0
        if self._read_paused:
            self._read_paused = False
            self.transport.resume_reading()
        return data

    def fail(self, error: Exception) -> None:
        """End the exchange and the connection with `error`."""
        if self.complete:
            return
        if self.error is None:
            self.error = error
        self.transport.abort()
        self._wake()

    # The transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(self._limit)

    def data_received(self, data: bytes) -> None:
        """Take bytes from the app."""
        if self.complete or not self.busy or self.error is not None:
            # Bytes that nobody asked for: the answer to something smuggled, or noise. Either way the end.
            self.keep = False
            self.transport.abort()
            return
        size = len(data)
        self.moved += size
        remaining = self._remaining
        if remaining > 0:
            if size >= remaining:
                self.complete = True
                if size > remaining:
                    self.keep = False
                    data = data[:remaining]
            else:
                self._remaining = remaining - size
            self._keep_part(data)
        elif remaining == UNTIL_CLOSE:
            self._keep_part(data)
        else:
            self._feed(data)
        if self.head is not None or self.error is not None:
            self._wake()

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            cause = error.__context__
            self.keep = False
            if self.complete:
                return
            self.fail(cause if isinstance(cause, UpstreamError) else UpstreamError("bad-response", repr(error)))
            return
        head = self.head
        if head is None:
            self._head_bytes += len(data)
            if self._head_bytes > self._pool.options.head_limit:
                self.fail(UpstreamError("bad-response", "the head is too large"))
        elif not self.complete and head.length != CHUNKED:
            self._fresh_parser = True
            self._remaining = head.length - self._buffered if head.length > 0 else UNTIL_CLOSE

    def _keep_part(self, data: bytes) -> None:
        self._parts.append(data)
        self._buffered += len(data)
        if self._buffered > self._limit and not self._read_paused and not self.complete:
            self._read_paused = True
            self.transport.pause_reading()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def eof_received(self) -> None:
        """Let the transport close."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Say what the end means for the exchange."""
        self.lost = True
        self.keep = False
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        if self.busy and not self.complete:
            if self._remaining == UNTIL_CLOSE and exc is None and self.error is None:
                self.complete = True
            elif self.error is None:
                self.error = self._why_lost(exc)
            self._wake()
        self._pool.lost(self)

    def _why_lost(self, exc: Exception | None) -> Exception:
        if self.head is not None:
            return TruncatedError(repr(exc))
        if self.moved == 0 and self.used:
            return StaleConnectionError()
        return UpstreamError("before-headers", repr(exc))

    def pause_writing(self) -> None:
        """The app reads slower than the client sends."""
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        """Go on."""
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    # The parser's side

    def on_message_begin(self) -> None:
        """Notice a second response behind the first."""
        if self.complete:
            self.keep = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect the head's fields; trailers are dropped."""
        if self.head is None:
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Check the head; informational ones are dropped (RFC 9110 section 15.2)."""
        if self.complete:
            return
        parser = self._parser
        status = parser.get_status_code()
        if status < _FIRST_FINAL:
            if status == _SWITCHING:
                raise UpstreamError("bad-response", "101 to a request that asked for no upgrade")
            self._fields = []
            return
        self.status = status
        bodiless = self._bodiless or status in _NO_BODY
        head = response_head(self._fields, self._pool.prefix, self._pool.hidden)
        self.keep = parser.should_keep_alive() if not bodiless else not _closes(self._fields)
        if bodiless:
            # llhttp does not know what was asked: it would wait for the body that the head speaks of.
            self._fresh_parser = True
            self.complete = True
        elif head.length == 0:
            self.complete = True
        self.head = head

    def on_body(self, data: bytes) -> None:
        """Take a part of a body that came with the head, or of a chunk."""
        if self.complete:
            self.keep = False
        else:
            self._keep_part(data)

    def on_message_complete(self) -> None:
        """The parser saw the end."""
        if self.head is not None:
            self.complete = True

    def ready_again(self) -> bool:
        """After an exchange: whether the next may follow on this connection; if so, it is reset."""
        if not self.complete or not self.keep or self.lost or self.error is not None:
            return False
        if self._fresh_parser:
            self._parser = HttpResponseParser(self)
        self.busy = False
        self.used = True
        if self._read_paused:
            self._read_paused = False
            self.transport.resume_reading()
        self.reset()
        return True


def _closes(fields: list[tuple[bytes, bytes]]) -> bool:
    return any(name.lower() == b"connection" and b"close" in value.lower() for name, value in fields)
