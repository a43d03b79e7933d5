"""One HTTP/1.1 connection to an app: the bytes of a request in, a checked response head and its body out.

Owns where a response's head and body end, and whether the connection can be used again. Does not know about clients: a
`Receiver` is told about each part of the response as it arrives.

Source: RFC 9112 sections 6, 9.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, Protocol, cast

from gateway.tunnel.answers import SWITCHING_PROTOCOLS, AnswerHead
from gateway.tunnel.errors import StaleConnectionError, TruncatedError, UpstreamError
from gateway.tunnel.options import TunnelOptions
from gateway.wire.chunks import Chunks
from gateway.wire.framing import CHUNKED, UNTIL_CLOSE
from gateway.wire.receive_buffer import ReceiveBuffer

_FIRST_FINAL: Final = 200


class Receiver(Protocol):
    """Is told about a response: `whole`; or `head`, `content` any number of times, then `over`; or `switched`.

    `failed` may come instead of any of them, and nothing after it. `moved` counts the bytes that have arrived.
    """

    moved: int

    def complete(self, head: AnswerHead, body: bytes) -> None:
        """Take a head with its complete body."""

    def head(self, head: AnswerHead, body: bytes) -> None:
        """Take a head, and the beginning of a body of which more is to come."""

    def content(self, data: bytes) -> None:
        """Take more of the body."""

    def over(self, data: bytes) -> None:
        """Take the end of the body."""

    def switched(self, head: AnswerHead, rest: bytes) -> None:
        """Take over the transport, whose reading is paused: the app has sent 101. `rest`: what followed it."""

    def failed(self, error: Exception) -> None:
        """There will be no more."""

    def app_paused(self) -> None:
        """Send no more of the request's body for now: the app reads slowly."""

    def app_resumed(self) -> None:
        """Go on with the request's body."""


class Connection(asyncio.Protocol):
    """Used by one receiver at a time, from `begin` to the end of the response.

    `on_lost` is called once, when the connection is gone.
    """

    __slots__ = (
        "_bodiless",
        "_buffer",
        "_chunks",
        "_head_bytes",
        "_heads",
        "_left",
        "_options",
        "_read",
        "_receiver",
        "_unsent",
        "_unsent_since",
        "head",
        "idle_since",
        "keep",
        "lost",
        "on_lost",
        "read_paused",
        "transport",
        "used",
        "write_paused",
    )

    def __init__(
        self,
        options: TunnelOptions,
        heads: Mapping[bytes, AnswerHead],
        read: Callable[[bytes], AnswerHead],
    ) -> None:
        """`read` parses a response's head that is not in `heads`."""
        self._options = options
        self._heads = heads
        self._read = read
        self._buffer = ReceiveBuffer()  # heads that are not complete
        self._head_bytes = 0  # of the heads of this response so far
        self._bodiless = False
        self._left = 0  # bytes of the body to come, or UNTIL_CLOSE, or CHUNKED
        self._chunks: Chunks | None = None
        self._receiver: Receiver | None = None
        self._unsent = 0
        self._unsent_since = 0.0
        self.read_paused = False
        self.on_lost: Callable[[], object] | None = None
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)
        self.head: AnswerHead | None = None
        self.keep = True
        self.lost = False
        self.idle_since = 0.0
        self.used = False
        self.write_paused = False

    # --- the receiver's side --------------------------------------------------------------------------------

    def begin(self, receiver: Receiver, data: bytes, *, bodiless: bool) -> None:
        """Send a request. `bodiless`: it is a HEAD."""
        self._receiver = receiver
        self._bodiless = bodiless
        self._head_bytes = 0
        self.head = None
        self.transport.write(data)

    def fail(self, error: Exception) -> None:
        """End the request and the connection with `error`."""
        receiver, self._receiver = self._receiver, None
        self.keep = False
        self.transport.abort()
        if receiver is not None:
            receiver.failed(error)

    def leave(self) -> None:
        """End the request before its response is complete, and with it the connection."""
        self._receiver = None
        self.keep = False
        self.transport.abort()

    def pause(self) -> None:
        """Read no more for now: the client is slow."""
        if not self.read_paused and not self.lost:
            self.read_paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        """Go on reading."""
        if self.read_paused:
            self.read_paused = False
            if not self.lost and not self.transport.is_closing():
                self.transport.resume_reading()

    def stalled(self, now: float) -> bool:
        """Called about twice a second: whether the app has read nothing for too long of what waits for it."""
        if not self.write_paused:
            self._unsent = 0
            return False
        unsent = self.transport.get_write_buffer_size()
        if unsent != self._unsent:
            self._unsent = unsent
            self._unsent_since = now
            return False
        return now - self._unsent_since > self._options.app_read_timeout

    # --- the transport's side -------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(self._options.buffer_limit)

    def data_received(self, data: bytes) -> None:
        """Take bytes from the app."""
        receiver = self._receiver
        if receiver is None:
            # Nobody has asked for these bytes: the answer to something smuggled, or noise.
            self.keep = False
            self.transport.abort()
            return
        receiver.moved += len(data)
        left = self._left
        if left > 0:
            size = len(data)
            if size < left:
                self._left = left - size
                receiver.content(data)
                return
            self._left = 0
            if size > left:
                self.keep = False
                data = data[:left]
            self._receiver = None
            receiver.over(data)
        elif not left:
            try:
                self._read_heads(receiver, data)
            except UpstreamError as error:
                self.fail(error)
        elif left == UNTIL_CLOSE:
            receiver.content(data)
        else:
            self._read_chunks(receiver, data)

    def _read_heads(self, receiver: Receiver, data: bytes) -> None:
        """Read heads up to and including the final one. Raises UpstreamError.

        Informational ones are dropped (RFC 9110 section 15.2). `head_limit` bounds all heads of a response together,
        as in Go's net/http: an app may not send 1xx without end.
        """
        buffer, limit = self._buffer, self._options.head_limit
        if not buffer:
            end = data.find(b"\r\n\r\n") + 4
            if end >= 4 and self._head_bytes + end <= limit:  # noqa: PLR2004 - found
                raw = data[:end]
                head = self._heads.get(raw) or self._read(raw)
                data = data[end:]
                if head.status >= _FIRST_FINAL:
                    self._begin_response(receiver, head, data)
                    return
                if head.status == SWITCHING_PROTOCOLS:
                    self._switch(receiver, head, data)
                    return
                self._head_bytes += end
        buffer += data
        while end := buffer.find_head_end():
            self._head_bytes += end
            if self._head_bytes > limit:
                break
            raw = buffer.take(end)
            head = self._heads.get(raw) or self._read(raw)
            if head.status >= _FIRST_FINAL:
                self._begin_response(receiver, head, buffer.take_all())
                return
            if head.status == SWITCHING_PROTOCOLS:
                self._switch(receiver, head, buffer.take_all())
                return
        if self._head_bytes + len(buffer) > limit:
            raise UpstreamError("bad-response", "the head is too large")

    def _switch(self, receiver: Receiver, head: AnswerHead, rest: bytes) -> None:
        """Give the transport to the receiver."""
        self._receiver = None
        self.transport.pause_reading()
        receiver.switched(head, rest)

    def _begin_response(self, receiver: Receiver, head: AnswerHead, data: bytes) -> None:
        """Pass on the final head, and what has arrived with it of the body."""
        self.head = head
        if not head.keep:
            self.keep = False
        length = head.length
        if self._bodiless or head.bodiless:
            # Some apps send the body that their head announces, although none may follow. If it arrives late, it must
            # not be read as the answer to the next request.
            if length > 0 or length == CHUNKED:
                self.keep = False
            length = 0
        if 0 <= length <= len(data):
            if len(data) > length:
                self.keep = False
                data = data[:length]
            self._receiver = None
            receiver.complete(head, data)
        elif length > 0:
            self._left = length - len(data)
            receiver.head(head, data)
        else:
            self._left = length
            self._chunks = Chunks() if length == CHUNKED else None
            receiver.head(head, b"")
            if data and self._chunks is not None:
                self._read_chunks(receiver, data)
            elif data:
                receiver.content(data)

    def _read_chunks(self, receiver: Receiver, data: bytes) -> None:
        chunks = self._chunks
        assert chunks is not None
        try:
            data = chunks.feed(data)
        except ValueError as error:
            self.fail(TruncatedError(str(error)))
            return
        if not chunks.done:
            if data:
                receiver.content(data)
            return
        if chunks.rest:
            self.keep = False
        self._chunks = self._receiver = None
        self._left = 0
        receiver.over(data)

    def eof_received(self) -> None:
        """Let the transport close."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the receiver what the end of the connection means for it."""
        self.lost = True
        self.keep = False
        receiver, self._receiver = self._receiver, None
        if self.on_lost is not None:
            self.on_lost()
        if receiver is None:
            return
        if self.head is None:
            if not receiver.moved and self.used:
                receiver.failed(StaleConnectionError())
            else:
                receiver.failed(UpstreamError("before-headers", repr(exc)))
        elif self._left == UNTIL_CLOSE and exc is None:
            receiver.over(b"")
        else:
            receiver.failed(TruncatedError(repr(exc)))

    def pause_writing(self) -> None:
        """Tell the receiver that the app reads more slowly than the client sends."""
        self.write_paused = True
        if self._receiver is not None:
            self._receiver.app_paused()

    def resume_writing(self) -> None:
        """Go on."""
        self.write_paused = False
        if self._receiver is not None:
            self._receiver.app_resumed()
