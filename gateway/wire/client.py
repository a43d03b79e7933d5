"""One client's connection: requests parsed from what arrives, and their responses in order.

Owns which request is under way, its body, what arrived early, pauses, and the end. What a request means is up to the
listener's handler. Which stages there are, and how long each may last: `gateway.wire.stages`.

A head that is byte for byte one that arrived lately (browsers repeat theirs) is not parsed again. It is looked up by
its bytes, from the end of the first line to the end of what arrived. So it is complete, nothing follows it, and
`heads.read` has parsed it before; only its first line is parsed again.
"""

import asyncio
import logging
import socket
import struct
from collections.abc import Sequence
from typing import Final, cast

from gateway.wire import framing
from gateway.wire.chunks import Chunks
from gateway.wire.context import ListenerContext
from gateway.wire.framing import CHUNKED
from gateway.wire.head_reader import LINE, HeadReader
from gateway.wire.heads import BadHeadError
from gateway.wire.progress import Progress
from gateway.wire.request import Request, Sink
from gateway.wire.stages import Stage

log = logging.getLogger("towpath.wire")

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
_PEER_CLOSED: Final = frozenset({b"\x07", b"\x08"})
"""TCP_CLOSE and TCP_CLOSE_WAIT, the first byte of TCP_INFO (tcp(7), linux/tcp.h)."""

_NEW, _IDLE, _HEAD, _REQUEST, _BODY = Stage.NEW, Stage.IDLE, Stage.HEAD, Stage.REQUEST, Stage.BODY
_CLOSING, _CLOSED = Stage.CLOSING, Stage.CLOSED


class Client(asyncio.Protocol):
    """One connection. See `gateway.wire.request.ClientConnection` for the side of the sink."""

    __slots__ = (
        "_body_bytes",
        "_body_paused",
        "_body_remaining",
        "_buffer",
        "_chunks",
        "_context",
        "_handle",
        "_heads",
        "_progress",
        "_read_paused",
        "_reader",
        "_sink",
        "peer",
        "request",
        "response_fields",
        "stage",
        "transport",
        "write_paused",
    )

    def __init__(self, context: ListenerContext) -> None:
        self._context = context
        self.response_fields = context.response_fields
        self._handle = context.handle
        self._heads = context.heads
        self._sink: Sink | None = None
        self._reader = HeadReader(context)
        self._buffer = self._reader.buffer
        self._body_remaining = 0  # bytes of the body to come; CHUNKED: the decoder knows
        self._chunks: Chunks | None = None
        self._body_bytes = 0  # received of the body
        self._body_paused = False
        self._read_paused = False
        self._progress = Progress()
        self.write_paused = False
        self.stage = Stage.NEW
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)
        self.peer = ""
        self.request: Request | None = None

    # --- bytes from the client ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(self._context.limits.buffer)
        name = transport.get_extra_info("peername")
        # A listener for IPv6 and IPv4 sees IPv4 addresses as ::ffff:192.0.2.1 (RFC 4291 section 2.5.5.2).
        peer = str(name[0]) if isinstance(name, tuple) else ""
        self.peer = peer[7:] if peer.startswith("::ffff:") and "." in peer else peer
        self._progress.since = self._context.now()
        if not self._context.admit(self):
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Read a head that was parsed before at once; leave everything else to `_receive`."""
        stage = self.stage
        if (stage is _IDLE or stage is _NEW) and not self.write_paused:
            at = data.find(b"\r\n")
            head = self._heads.get(data[at:])
            if head is not None:
                line = LINE.fullmatch(data, 0, at)
                if line is not None:
                    self._begin(Request(self, line[1], line[2], head))
                    return
        self._receive(data)

    def _receive(self, data: bytes) -> None:
        """Pass on what belongs to a body, and buffer the rest until it can be parsed."""
        stage = self.stage
        if stage is _BODY:
            self._receive_body(data)
        elif stage is _REQUEST:
            self._buffer += data
            if len(self._buffer) > self._context.limits.head:
                self._pause_reading()  # the rest waits in the kernel
        elif stage is not _CLOSING and stage is not _CLOSED:
            self._buffer += data
            if not self.write_paused:
                self._read_head()
                return
            if stage is not _HEAD:
                self._enter(_HEAD)
            if len(self._buffer) > self._context.limits.head:
                self._pause_reading()

    def _enter(self, stage: Stage) -> None:
        """Begin a stage, and its time."""
        self.stage = stage
        self._progress.since = self._context.now()

    def _read_head(self) -> None:
        """Begin a request if its head has arrived completely; answer 4xx if it cannot become a valid one."""
        try:
            found = self._reader.read()
        except BadHeadError as error:
            self._refuse(error.status, str(error))
            return
        if found is None:
            # Only empty lines may have arrived: then the time-out does not start again.
            if self._buffer and self.stage is not _HEAD:
                self._enter(_HEAD)
            elif not self._buffer and self.stage is _HEAD:
                self.stage = _IDLE
            return
        self._body_remaining = found.head.length
        self._chunks = Chunks() if found.head.length == CHUNKED else None
        self._begin(Request(self, *found))

    def _begin(self, request: Request) -> None:
        """Give the request to the handler."""
        self.stage = _REQUEST
        self.request = request
        try:
            self._handle(request)
        except Exception:
            # An error of ours costs one request, not the worker.
            log.exception("Request handling failed")
            if request.open and self._sink is None:
                request.respond(500, (), b"The hub made a mistake.\n")
            else:
                self.abort()

    def _receive_body(self, data: bytes) -> None:
        """Pass a part of the body to the sink, and keep what follows the body."""
        self._body_bytes += len(data)
        chunks, sink = self._chunks, self._sink
        if chunks is not None:
            try:
                data = chunks.feed(data)
            except ValueError:
                # What was passed on is not complete, and the app must not take it for complete.
                self.abort()
                return
            if chunks.done:
                self._buffer += chunks.rest
                self._body_remaining = 0
        elif len(data) > self._body_remaining:
            self._buffer += data[self._body_remaining :]
            data = data[: self._body_remaining]
            self._body_remaining = 0
        else:
            self._body_remaining -= len(data)
        complete = not self._body_remaining
        if complete:
            self.stage = _REQUEST
        assert sink is not None
        if data:
            sink.body_received(data)
        if complete and self._sink is sink:
            sink.body_complete()

    def eof_received(self) -> None:
        """Let the transport close once it has sent its buffer: a client that half-closes has left."""
        self._leave(_CLOSING)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Forget the connection."""
        self._context.dismiss(self)
        self._buffer.clear()
        self._leave(_CLOSED)

    def _leave(self, stage: Stage) -> None:
        """Tell the sink that the client has left."""
        if self.stage is not _CLOSED:
            self._enter(stage)
        self.request = None
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.client_gone()

    # --- the sink's side ------------------------------------------------------------------------------------

    def attach(self, sink: Sink) -> None:
        """Tell `sink` about the current request from now on."""
        self._sink = sink

    def read_body(self) -> None:
        """Begin to pass the request's body to the sink."""
        request = self.request
        if request is None or not self._body_remaining:
            return
        if request.head.expects and not self._buffer:
            self.transport.write(_CONTINUE)
        self._enter(_BODY)
        self._body_bytes = 0
        if self._buffer:
            self._receive_body(
                self._buffer.take(self._body_remaining) if self._body_remaining > 0 else self._buffer.take_all()
            )
        if not self._body_paused:
            self._resume_reading()

    def pause_body(self) -> None:
        """Pause passing on the body."""
        self._body_paused = True
        self._pause_reading()

    def resume_body(self) -> None:
        """Continue to pass on the body."""
        self._body_paused = False
        if self.stage is not _CLOSED:
            self._resume_reading()

    @property
    def will_close(self) -> bool:
        """Return whether the connection would end if the response were complete now."""
        request = self.request
        return bool(self._body_remaining) or request is None or not request.head.keep or self._context.draining

    def response_done(self) -> None:
        """Note that the response is written completely."""
        request = self.request
        self.request = self._sink = None
        self._body_paused = False
        if request is None:
            return
        if self._body_remaining or not request.head.keep or self._context.draining:
            self.close()
        elif self._buffer:
            self._enter(_HEAD)
            # Not at once, because many pipelined requests must not become deeply nested calls.
            self._context.loop.call_soon(self._read_next)
        else:
            self.stage = _IDLE
            self._progress.since = self._context.now()
            if self._read_paused:
                self._resume_reading()

    def _read_next(self) -> None:
        """Read the next request, if there is one and its response can be sent."""
        if self.stage is _HEAD and self._buffer and not self.write_paused:
            self._resume_reading()
            self._read_head()

    def close(self) -> None:
        """Close after the last response is sent. A client that is still sending is read from for a moment.

        Otherwise its connection would be reset, and it would lose the response.
        """
        if self.stage is _CLOSING or self.stage is _CLOSED:
            return
        self._enter(_CLOSING)
        if self._body_remaining and self.transport.can_write_eof():
            self.transport.write_eof()
            self._resume_reading()
        else:
            self.transport.close()

    def close_if_idle(self) -> None:
        """Close the connection if no request is under way."""
        if self.request is None:
            self.close()

    def close_truncated(self) -> None:
        """Close after what has been written: the response cannot be completed."""
        if self.stage is not _CLOSED:
            self._enter(_CLOSING)
        self.transport.close()

    def abort(self, *, reset: bool = False) -> None:
        """Close at once. `reset`: by a TCP reset, where an orderly end would look like the end of the response."""
        if self.stage is _CLOSED:
            return
        if reset:
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.transport.abort()

    def detach(self) -> bytes:
        """Give the transport away, and return what was received behind the request. The sink is told no more."""
        self._context.dismiss(self)
        self._resume_reading()
        self.stage = _CLOSED
        self.request = self._sink = None
        return self._buffer.take_all()

    # --- responses of our own -------------------------------------------------------------------------------

    def respond(self, status: int, fields: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        """Answer the current request with a complete response."""
        request = self.request
        assert request is not None
        bodiless = request.method == b"HEAD"
        close, extra = self.will_close, self.response_fields
        self.transport.write(framing.response(status, fields, body, close=close, bodiless=bodiless, extra=extra))
        self.response_done()

    def _refuse(self, status: int, message: str) -> None:
        """Answer what is not a request, and close."""
        self._body_remaining = 1  # the client may go on sending
        fields = ((b"content-type", b"text/plain; charset=utf-8"),)
        text, extra = message.encode() + b"\n", self.response_fields
        self.transport.write(framing.response(status, fields, text, close=True, bodiless=False, extra=extra))
        self.close()

    # --- time -----------------------------------------------------------------------------------------------

    def check(self, now: float) -> None:
        """End what has made no progress for too long. Called about once a second."""
        stage = self.stage
        if self._read_paused and self._peer_closed():
            self.abort()
        elif self._progress.stalled(
            now,
            stage,
            self._context.limits,
            moved=-1 if self._body_paused else self._body_bytes,
            unsent=self.transport.get_write_buffer_size(),
            write_paused=self.write_paused,
        ):
            self._time_out(stage)

    def _time_out(self, stage: Stage) -> None:
        if self.write_paused or stage is _BODY or stage is _CLOSING:
            self.abort()
        elif stage is _HEAD:
            self._refuse(408, "The request did not arrive in time.")
        else:
            self.close()

    def _peer_closed(self) -> bool:
        """Return whether the client has closed its side. While reading is paused, nothing else would show it."""
        sock = self.transport.get_extra_info("socket")
        return sock is not None and sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) in _PEER_CLOSED

    # --- pauses ---------------------------------------------------------------------------------------------

    def _pause_reading(self) -> None:
        if not self._read_paused and self.stage is not _CLOSED:
            self._read_paused = True
            self.transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._read_paused and not self.transport.is_closing():
            self._read_paused = False
            self.transport.resume_reading()

    def pause_writing(self) -> None:
        """Tell the sink that the client reads more slowly than it is sent to."""
        self.write_paused = True
        if self._sink is not None:
            self._sink.client_paused()

    def resume_writing(self) -> None:
        """Resume sending."""
        self.write_paused = False
        self._progress.since = self._context.now()
        if self._sink is not None:
            self._sink.client_resumed()
        elif self._buffer:
            self._read_next()
