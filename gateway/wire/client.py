"""One client's connection: requests out of bytes, and answers back in their order.

Owns: which request is under way, its body, what came ahead of its time, pauses, the end. Refuses to know what a
request means: it goes to the server's handler.

A head that is byte for byte one that came lately (browsers repeat theirs) is not parsed again. It is looked up by its
bytes, from the first line's end to the end of what came, so it is whole, alone, and was read by `heads.read` before;
only its first line is read anew. The memory is the server's (`Server.seen`): an edge proxy mixes everybody's requests.
"""

import asyncio
import logging
import re
import socket
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, cast

from gateway.wire import framing, heads
from gateway.wire.chunks import Chunks
from gateway.wire.framing import CHUNKED
from gateway.wire.receive_buffer import ReceiveBuffer
from gateway.wire.request import Request, Sink

if TYPE_CHECKING:
    from gateway.wire.server import Limits, Server

log = logging.getLogger("towpath.wire")

_LINE: Final = re.compile(rb"(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) (/[!-\"$-~]*) HTTP/1\.1")
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Client(asyncio.Protocol):
    """One connection. `request` is the one under way; its sink is told of its body and of the client's ways.

    `write_paused`: the client is to be sent nothing more just now.
    """

    __slots__ = (
        "_answered",
        "_buffer",
        "_chunks",
        "_empty_lines",
        "_flowing",
        "_handle",
        "_held",
        "_left",
        "_partial",
        "_read_paused",
        "_seen",
        "_server",
        "_sink",
        "closing_since",
        "lost",
        "peer",
        "request",
        "response_fields",
        "since",
        "transport",
        "write_paused",
    )

    def __init__(self, server: "Server") -> None:
        self._server = server
        self.response_fields = server.response_fields
        self._handle = server.handle
        self._seen = server.seen
        self._sink: Sink | None = None
        self._buffer = ReceiveBuffer()
        self._empty_lines = 0  # since the last request
        self._answered = False
        self._left = 0  # of the body, to come; CHUNKED: the decoder knows
        self._chunks: Chunks | None = None
        self._flowing = False  # the body goes to the sink
        self._held = False  # the sink wants no more just now
        self._partial = False  # a head has begun
        self._read_paused = False
        self.write_paused = False
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)
        self.peer = ""
        self.request: Request | None = None
        self.since = 0.0  # when this connection began to wait for a request
        self.closing_since = 0.0  # when we began to wait for its end
        self.lost = False

    # --- bytes from the client ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(self._server.limits.buffer)
        name = transport.get_extra_info("peername")
        # A listener for IPv6 and IPv4 sees IPv4 addresses as ::ffff:192.0.2.1 (RFC 4291 section 2.5.5.2).
        peer = str(name[0]) if isinstance(name, tuple) else ""
        self.peer = peer[7:] if peer.startswith("::ffff:") and "." in peer else peer
        self.since = self._server.now()
        self._server.clients.add(self)

    def data_received(self, data: bytes) -> None:
        """Read a head that was seen before at once; leave everything else to `_receive`."""
        if self.request is None and not self._buffer and not self._left and not self.write_paused:
            at = data.find(b"\r\n")
            head = self._seen.get(data[at:])
            if head is not None:
                line = _LINE.fullmatch(data, 0, at)
                if line is not None:
                    self.request = request = Request(self, line[1], line[2], head)
                    self._hand_over(request)
                    return
        self._receive(data)

    def _receive(self, data: bytes) -> None:
        """Pass on what belongs to a body, and buffer the rest until it can be read."""
        if self.closing_since:
            return
        if self._flowing:
            self._body(data)
            return
        self._buffer.append(data)
        if self.request is None and not self.write_paused:
            self._read_head()
        elif len(self._buffer) > self._server.limits.head:
            self._pause()  # the rest waits in the kernel

    def _read_head(self) -> None:
        """Begin a request if its head is complete in the buffer; answer 4xx if it cannot become a valid one."""
        limits, buffer = self._server.limits, self._buffer
        try:
            self._skip_empty_lines()
            end = buffer.find_head_end()
            if not end:
                self._wait_for_head()
                return
            if end > limits.head:
                raise heads.BadHeadError(431, "The request's head is too large.")
            raw = buffer.take(end)
            method, target, head = heads.read(raw, most_fields=limits.fields)
        except heads.BadHeadError as error:
            self._refuse(error.status, str(error))
            return
        self._partial = False
        self._empty_lines = 0
        self._remember(raw, head)
        self._left = head.length
        self._chunks = Chunks() if head.length == CHUNKED else None
        self.request = request = Request(self, method, target, head)
        self._hand_over(request)

    def _skip_empty_lines(self) -> None:
        """Drop empty lines in front of a request line (RFC 9112 section 2.2). Raises BadHeadError for too many."""
        most = self._server.limits.empty_lines
        self._empty_lines += self._buffer.drop_empty_lines(most + 1 - self._empty_lines)
        if self._empty_lines > most:
            raise heads.BadHeadError(400, "There are too many empty lines in front of the request.")

    def _wait_for_head(self) -> None:
        """Note that a head has begun. Raises BadHeadError if it is too large or cannot become valid."""
        if len(self._buffer) > self._server.limits.head:
            raise heads.BadHeadError(431, "The request's head is too large.")
        if self._buffer and not self._partial:
            self._partial = True
            self.since = self._server.now()
            if self._buffer.has_bare_line_feed():
                raise heads.BadHeadError(400, "The request's head is not valid.")

    def _remember(self, raw: bytes, head: heads.Head) -> None:
        """Keep the head, if the next one may differ from it in its first line only, so that it is not parsed again."""
        at = raw.index(b"\r\n")
        if head.plain and len(raw) - at <= heads.REMEMBERED_MAX and _LINE.fullmatch(raw, 0, at):
            self._server.remember(raw[at:], head)

    def _hand_over(self, request: Request) -> None:
        try:
            self._handle(request)
        except Exception:
            # A fault of ours is one request's, not the worker's.
            log.exception("A request could not be handled")
            if request.open and self._sink is None:
                request.respond(500, (), b"The hub made a mistake.\n")
            else:
                self.cut()

    def _body(self, data: bytes) -> None:
        """Pass the body on."""
        chunks, sink = self._chunks, self._sink
        if chunks is not None:
            try:
                data = chunks.feed(data)
            except ValueError:
                # What was passed on is not whole, and the app must not take it for whole.
                self._flowing = False
                self.cut()
                return
            if chunks.done:
                self._buffer.append(chunks.rest)
                self._left = 0
        elif len(data) > self._left:
            self._buffer.append(data[self._left :])
            data = data[: self._left]
            self._left = 0
        else:
            self._left -= len(data)
        over = not self._left
        if over:
            self._flowing = False
        assert sink is not None
        if data:
            sink.body(data)
        if over and self._sink is sink:
            sink.body_end()

    def eof_received(self) -> None:
        """A client that says no more has left: let the transport close."""

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Tell who is concerned."""
        self.lost = True
        self._server.clients.discard(self)
        self.request = None
        self._flowing = False
        self._buffer.clear()
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.client_gone()

    # --- the sink's side ------------------------------------------------------------------------------------

    def attach(self, sink: Sink) -> None:
        """Let `sink` carry the request under way."""
        self._sink = sink

    def want_body(self) -> None:
        """Let the request's body come to the sink, from now on."""
        request = self.request
        if request is None or not self._left:
            return
        if request.head.expects and not self._buffer:
            self.transport.write(_CONTINUE)
        self._flowing = True
        if self._buffer:
            self._body(self._buffer.take(self._left) if self._left > 0 else self._buffer.take_all())
        if not self._held:
            self._resume()

    def hold(self) -> None:
        """No more of the body just now."""
        self._held = True
        self._pause()

    def unhold(self) -> None:
        """Go on."""
        self._held = False
        if not self.lost:
            self._resume()

    @property
    def ends(self) -> bool:
        """Whether the connection would end with an answer now."""
        request = self.request
        return bool(self._left) or request is None or not request.head.keep or self._server.draining

    def done(self) -> None:
        """The response is out."""
        request = self.request
        self.request = self._sink = None
        self._flowing = self._held = False
        self._answered = True
        if request is None:
            return
        if self._left or not request.head.keep or self._server.draining:
            self.finish()
        elif self._buffer:
            # Not at once: a row of requests must not become a pile of calls.
            self._server.loop.call_soon(self._go_on)
        else:
            self.since = self._server.now()
            if self._read_paused:
                self._resume()

    def _go_on(self) -> None:
        """Read the next request, when there is one and its answer can be sent."""
        if self.request is None and self._buffer and not (self.write_paused or self.lost or self.closing_since):
            self.since = self._server.now()
            self._resume()
            self._read_head()

    def finish(self) -> None:
        """Close when all is sent. A client that is still sending is listened to for a moment, or it would miss it."""
        if self.lost or self.closing_since:
            return
        self.closing_since = self._server.now()
        if self._left and self.transport.can_write_eof():
            self.transport.write_eof()
            self._resume()
        else:
            self.transport.close()

    def break_off(self) -> None:
        """The answer cannot be whole: close when what there is of it is sent."""
        self.closing_since = self._server.now()
        self.transport.close()

    def cut(self, *, reset: bool = False) -> None:
        """End the connection where it stands. `reset`: a plain end would look like the end of the response."""
        if self.lost:
            return
        if reset:
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def detach(self) -> bytes:
        """Give the transport away; what came behind the request. Nothing is told to the sink any more."""
        self._server.clients.discard(self)
        self._resume()
        self.lost = True
        self.request = self._sink = None
        return self._buffer.take_all()

    # --- answers of our own ---------------------------------------------------------------------------------

    def respond(self, status: int, fields: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        """Answer the request under way."""
        request = self.request
        assert request is not None
        bodiless = request.method == b"HEAD"
        data = framing.response(status, fields, body, close=self.ends, bodiless=bodiless, extra=self.response_fields)
        self.transport.write(data)
        self.done()

    def _refuse(self, status: int, message: str) -> None:
        """Answer what is no request, and close."""
        self._left = 1  # it may go on sending
        fields = ((b"content-type", b"text/plain; charset=utf-8"),)
        text, extra = message.encode() + b"\n", self.response_fields
        self.transport.write(framing.response(status, fields, text, close=True, bodiless=False, extra=extra))
        self.finish()

    def waited(self, seconds: float, limits: "Limits") -> None:
        """Told now and then for how long no request is under way: end what takes too long."""
        if self._buffer and not self.write_paused:
            if seconds > limits.head_time:
                self._refuse(408, "The request did not come in time.")
        elif seconds > (limits.idle_time if self._answered else limits.head_time):
            self.finish()

    # --- pauses ---------------------------------------------------------------------------------------------

    def _pause(self) -> None:
        if not self._read_paused and not self.lost:
            self._read_paused = True
            self.transport.pause_reading()

    def _resume(self) -> None:
        if self._read_paused and not self.transport.is_closing():
            self._read_paused = False
            self.transport.resume_reading()

    def pause_writing(self) -> None:
        """The client reads slower than it is sent to."""
        self.write_paused = True
        if self._sink is not None:
            self._sink.client_paused()

    def resume_writing(self) -> None:
        """Go on."""
        self.write_paused = False
        if self._sink is not None:
            self._sink.client_resumed()
        elif self._buffer:
            self._go_on()
