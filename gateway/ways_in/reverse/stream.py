"""Streams in frames: a connection of another kind, as a transport for the tunnel.

Owns the ends of a stream (a close frame, or the end of TLS inside), pings, and the TLS with which the hub's gateways
and a job's node prove themselves to each other. Does not know how the connection below came to be.
"""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable, Iterable
from typing import Any, Final

from gateway.ways_in.reverse.frames import BINARY, CLOSED, PONG, Frames, head

log = logging.getLogger("towpath.ways_in")

_READ: Final = 256 * 1024
_received: Final = memoryview(bytearray(_READ))
"""What arrives, until it is taken apart: at once, so that all streams of an event loop can share it."""
_plain: Final = memoryview(bytearray(_READ + 16384))
"""What is decrypted, until it is copied. One event loop uses it."""


class FramedStream(asyncio.Transport, asyncio.BufferedProtocol):
    """The protocol of the connection below (`lower`), and the transport of the protocol above."""

    def __init__(
        self, lower: asyncio.Transport, *, masked: bool, ended: "Callable[[FramedStream], None] | None" = None
    ) -> None:
        """`masked`: whether the other end masks its frames. `ended` is called once."""
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._lower = lower
        self._frames = Frames(masked=masked)
        self._protocol: asyncio.Protocol | None = None
        self._ended = ended
        self._paused = False
        self._eof = False  # the other end has sent everything
        self._eof_told = False
        self._closing = False
        self._lost = False
        self._fault: Exception | None = None
        self.last_received = self._loop.time()

    def attach(self, protocol: asyncio.BaseProtocol) -> None:
        """Give the stream to its user."""
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol
        protocol.connection_made(self)

    @property
    def usable(self) -> bool:
        """Whether a request can be sent on it."""
        return not (self._closing or self._lost or self._eof or self._lower.is_closing())

    # --- the connection's side

    def start(self, early: bytes = b"") -> None:
        """Begin to receive from the connection below. `early`: what has arrived already."""
        self._lower.pause_reading()  # the transport looks for its buffer when it begins to read
        self._lower.set_protocol(self)
        self._lower.resume_reading()
        if early:
            self._receive(memoryview(early))

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        """See asyncio."""
        return _received

    def buffer_updated(self, nbytes: int) -> None:
        """See asyncio."""
        self._receive(_received[:nbytes])

    def _receive(self, data: memoryview) -> None:
        """Pass on what is in the frames."""
        if self._closing:
            return
        self.last_received = self._loop.time()
        frames = self._frames
        try:
            parts = frames.feed(data)
            if parts:
                self._take(parts)
        except (ValueError, ssl.SSLError) as error:
            self._fault = ConnectionResetError(str(error))
            self.abort()
            return
        if frames.pings:
            for ping in frames.pings:
                self._lower.write(head(PONG, len(ping)) + ping)
            frames.pings.clear()
        if frames.closed and not self._eof:
            self._eof = True
        if self._eof and not self._eof_told and not self._closing:
            self._tell_eof()

    def _take(self, parts: "list[bytes | memoryview]") -> None:
        """Take the bytes of frames. Raises ValueError and SSLError."""
        self._deliver(b"".join(parts))

    def _deliver(self, data: bytes) -> None:
        if self._protocol is None:
            raise ValueError("nobody has asked for anything")
        self._protocol.data_received(data)

    def _tell_eof(self) -> None:
        """Tell the user that nothing more will come; later, if they do not read now."""
        if self._paused:
            return
        self._eof_told = True
        if self._protocol is None or not self._protocol.eof_received():
            self.close()

    def eof_received(self) -> None:
        """Let the connection below close: its end without a close frame is no end of the stream."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the user, once."""
        if self._lost:
            return
        self._lost = True
        if self._fault is not None:
            exc = self._fault
        elif self._closing:  # by us
            exc = None
        elif exc is None and not self._eof:
            exc = ConnectionResetError("the stream has no end")
        self._closing = True
        if self._ended is not None:
            self._ended(self)
        if self._protocol is not None:
            self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        """The other end is slow."""
        if self._protocol is not None:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """It has caught up."""
        if self._protocol is not None:
            self._protocol.resume_writing()

    # --- the transport

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See asyncio."""
        if data and not self._closing:
            self._send(bytes(data))

    def _send(self, data: bytes) -> None:
        self._lower.writelines((head(BINARY, len(data)), data))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """See asyncio."""
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        """See asyncio."""
        return False

    def is_closing(self) -> bool:
        """See asyncio."""
        return self._closing or self._lower.is_closing()

    def close(self) -> None:
        """See asyncio."""
        if not self._closing:
            self._say_end()
            self._closing = True
            self._lower.close()

    def _say_end(self) -> None:
        self._lower.write(CLOSED)

    def abort(self) -> None:
        """See asyncio."""
        self._closing = True
        self._lower.abort()

    def pause_reading(self) -> None:
        """See asyncio."""
        if not self._closing and not self._paused:
            self._paused = True
            self._lower.pause_reading()

    def resume_reading(self) -> None:
        """See asyncio."""
        if self._paused and not self._closing:
            self._paused = False
            self._lower.resume_reading()
            if self._eof:
                self._loop.call_soon(self._late_eof)

    def _late_eof(self) -> None:
        if not self._eof_told and not self._closing:
            self._tell_eof()

    def is_reading(self) -> bool:
        """See asyncio."""
        return not self._paused and not self._closing

    def get_write_buffer_size(self) -> int:
        """See asyncio."""
        return self._lower.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """See asyncio."""
        self._lower.set_write_buffer_limits(high, low)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """See asyncio."""
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """See asyncio."""
        assert self._protocol is not None
        return self._protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """See asyncio: the socket is that of the connection below."""
        return self._lower.get_extra_info(name, default)


class TlsStream(FramedStream):
    """A stream to a node: TLS inside the frames, in which both sides prove themselves with the hub's certificates."""

    def __init__(
        self,
        lower: asyncio.Transport,
        context: ssl.SSLContext,
        name: str,
        *,
        proven: "Callable[[TlsStream], None]",
        ended: Callable[[FramedStream], None],
    ) -> None:
        """`name`: whom the node must prove to be. `proven` is called once it has."""
        super().__init__(lower, masked=True, ended=ended)
        self.name = name
        self._proven: Callable[[TlsStream], None] | None = proven
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)

    def begin(self) -> None:
        """Send the beginning of the handshake."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
        self._flush()

    @property
    def waits(self) -> bool:
        """Whether the node has proven itself, and a request can be sent."""
        return self._proven is None and self._protocol is None and self.usable

    def _take(self, parts: "list[bytes | memoryview]") -> None:
        for part in parts:
            self._incoming.write(part)
        if self._proven is not None and not self._handshake():
            return
        self._decrypt()

    def _handshake(self) -> bool:
        """Continue the handshake; return whether it is complete. Raises SSLError."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except ssl.SSLError as error:
            self._flush()
            reason = getattr(error, "verify_message", "") or error.reason
            log.warning("A node did not prove its identity. expected=%s reason=%r", self.name, reason)
            raise
        self._flush()
        proven, self._proven = self._proven, None
        assert proven is not None
        proven(self)
        return True

    def _decrypt(self) -> None:
        """Pass on what has arrived. Raises ValueError and SSLError."""
        tls, incoming = self._tls, self._incoming
        more = True
        while more and not self._eof and not self._closing:
            size = 0
            try:
                while more and size < _READ:
                    got = int(tls.read(_READ, _plain[size:]))
                    if not got:
                        self._eof = True
                        break
                    size += got
                    more = bool(incoming.pending or tls.pending())
            except ssl.SSLWantReadError:
                more = False
            except ssl.SSLZeroReturnError:
                self._eof = True
            if size:
                self._deliver(bytes(_plain[:size]))
        if self._outgoing.pending:
            self._flush()

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data:
            super()._send(data)

    def _send(self, data: bytes) -> None:
        tls, size = self._tls, len(data)
        sent = tls.write(data)
        while sent < size:  # a record at a time
            sent += tls.write(memoryview(data)[sent:])
        self._flush()

    def _say_end(self) -> None:
        """Send close_notify; the node's own need not be waited for."""
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
        self._flush()
        super()._say_end()
