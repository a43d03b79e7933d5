"""One connection to the hub that waits for a request, and then forwards bytes between the gateway and the app."""

import ssl

from batch.starter.tls_connection import TlsConnection
from batch.starter.websocket_frames import CLOSE, PING, FramedIn, FramedOut, frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import Union

    from batch.starter.reverse_pool import ReversePool

READ_SIZE = 16384
SILENT_LOOKS, SILENT_LOOKS_WAITING = 15, 2
HTTPS_READ = 65536  # bytes that are decrypted before the next connection is served


class HttpsSocket:
    """A connection by https which behaves as a socket that does not block."""

    __slots__ = ("family", "secure")

    def __init__(self, secure: ssl.SSLSocket) -> None:
        self.secure = secure
        self.family = secure.family

    def fileno(self) -> int:
        """Return the descriptor."""
        return self.secure.fileno()

    def setblocking(self, blocks: bool) -> None:
        """See socket."""
        self.secure.setblocking(blocks)

    def setsockopt(self, level: int, option: int, value: int) -> None:
        """See socket."""
        self.secure.setsockopt(level, option, value)

    def recv_into(self, buffer: memoryview) -> int:
        """See socket. A read of TLS is one record at most, so several are made."""
        size = 0
        while size < HTTPS_READ:
            try:
                got = self.secure.recv_into(buffer[size:])
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                break
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                got = 0
            if not got:  # its end is read again by the next call
                return size
            size += got
        if not size:
            raise BlockingIOError
        return size

    def send(self, data: bytes) -> int:
        """See socket. What was not sent must be sent again, and nothing else. A call sends one record of TLS."""
        view = memoryview(data)
        sent = 0
        while sent < len(data):
            try:
                sent += self.secure.send(view[sent:])
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                if not sent:
                    raise BlockingIOError
                break
        return sent

    def close(self) -> None:
        """See socket."""
        self.secure.close()


class ReverseConnection(TlsConnection):
    """See TlsConnection. TLS runs in the frames of a WebSocket. The app is connected with the gateway's first bytes."""

    __slots__ = ("first", "pool", "received", "silent", "waiting")

    def __init__(self, pool: "ReversePool", sock: "Union[_socket.socket, HttpsSocket]") -> None:
        self.pool = pool
        self.waiting = False  # the gateway has proven itself, and has sent nothing yet
        self.first = b""  # bytes of the gateway that arrived before the app was connected
        self.received = True  # something has arrived since the last look
        self.silent = 0  # looks in a row before which nothing has arrived
        TlsConnection.__init__(self, pool, sock, "")  # type: ignore[arg-type]
        self.encrypted_in = FramedIn(self.encrypted_in)  # type: ignore[assignment]
        self.encrypted_out = FramedOut(self.encrypted_out, self.encrypted_in.frames)  # type: ignore[assignment,attr-defined]

    def begin(self, early: bytes) -> None:
        """Use what has arrived behind the handshake of the WebSocket."""
        if early:
            try:
                self.encrypted_in.write(early)
                self.handshake()
            except (OSError, ValueError):
                self.close()

    def read_sock(self) -> None:
        """See TlsConnection."""
        self.received = True
        TlsConnection.read_sock(self)
        if not self.closed and self.encrypted_out.frames.replies:  # type: ignore[attr-defined]
            self.send_to_sock()

    def handshake(self) -> None:
        """Continue the handshake, or look for the gateway's first bytes."""
        if not self.waiting:
            TlsConnection.handshake(self)
            return
        try:
            first = self.tls.read(READ_SIZE)
        except ssl.SSLWantReadError:
            return
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            first = b""
        if not first:
            self.close()
            return
        self.first = first
        self.waiting = False
        self.pool.taken()
        TlsConnection.connect_to_app(self)

    def connect_to_app(self) -> None:
        """Wait, instead of connecting: the gateway has proven itself. Later calls connect."""
        if self.first:
            TlsConnection.connect_to_app(self)
        elif not self.closed:
            self.waiting = True
            self.pool.proven()
            self.handshake()

    def decrypt(self) -> None:
        """See TlsConnection. The first bytes come before all others."""
        first, self.first = self.first, b""
        if first:
            self.give_app(memoryview(first))
        TlsConnection.decrypt(self)

    def look(self) -> None:
        """Close the connection if the hub is silent for long, else ping it. Called every LOOK_SECONDS.

        A gateway whose client is slow answers late.
        """
        if self.sock_to_send or not self.sock_events:  # one of the two is slow
            self.received = True
            return
        self.silent = 0 if self.received else self.silent + 1
        self.received = False
        if self.silent >= (SILENT_LOOKS if self.open else SILENT_LOOKS_WAITING):
            self.close()
            return
        if not self.app_ended:
            self.encrypted_out.frames.replies += frame(PING, b"")  # type: ignore[attr-defined]
            self.send_to_sock()

    def end_sock_side(self) -> None:
        """See TlsConnection. The close frame follows close_notify."""
        if not self.app_failed:
            self.encrypted_out.last = frame(CLOSE, b"")  # type: ignore[attr-defined]
        TlsConnection.end_sock_side(self)

    def finish(self) -> None:
        """Finish after everything was sent: the hub closes the connection, unless the app ended by an error."""
        if self.sock_ended or self.app_failed:
            self.close()

    def close(self) -> None:
        """See TlsConnection."""
        TlsConnection.close(self)
        self.pool.lost(self)
