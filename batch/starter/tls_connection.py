"""One connection of the gateway, and the connection to the app that belongs to it."""

import _socket
import errno
import select
import ssl

from batch.starter.sockets import change_events, prepare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from batch.starter.tls_server import TlsServer

GATEWAY_NAME = "gateway.towpath.internal"


class TlsConnection:
    """A pair of connections, one to the gateway (`sock`) and one to the app (`app`)."""

    __slots__ = (
        "app", "app_ended", "app_events", "app_failed", "app_refuses", "app_to_send", "closed", "encrypted_in",
        "encrypted_out", "open", "peer", "server", "sock", "sock_ended", "sock_events", "sock_to_send", "tls",
    )  # fmt: skip

    def __init__(self, server: "TlsServer", sock: "_socket.socket", peer: str) -> None:
        self.server = server
        self.sock = sock
        self.peer = peer
        self.app: "_socket.socket" = None  # type: ignore[assignment] # until the gateway has proven itself
        self.open = False  # the app is connected
        self.closed = False
        self.app_to_send = b""  # plain bytes that the app has not accepted yet
        self.sock_to_send = b""  # encrypted bytes that the gateway has not accepted yet
        self.sock_events = self.app_events = 0
        self.sock_ended = self.app_ended = False  # nothing more will arrive from there
        self.app_refuses = False  # it accepts nothing more
        self.app_failed = False  # it ended by an error
        self.encrypted_in = ssl.MemoryBIO()
        self.encrypted_out = ssl.MemoryBIO()
        self.tls = server.context.wrap_bio(self.encrypted_in, self.encrypted_out, server_side=True)
        prepare(sock)
        server.handlers[sock.fileno()] = self.on_sock
        self.watch_sock(select.EPOLLIN)

    # A socket without wanted events is not watched at all, because epoll would report its end for ever.

    def watch_sock(self, events: int) -> None:
        """Watch these events of the gateway's side."""
        if events != self.sock_events and not self.closed:
            change_events(self.server.epoll, self.sock, self.sock_events, events)
            self.sock_events = events

    def watch_app(self, events: int) -> None:
        """Watch these events of the app's side."""
        if events != self.app_events and not self.closed:
            change_events(self.server.epoll, self.app, self.app_events, events)
            self.app_events = events

    def on_sock(self, events: int) -> None:
        """Handle events of the gateway's side."""
        try:
            if events & select.EPOLLOUT:
                self.send_to_sock()
            if self.closed:
                return
            if events & select.EPOLLIN:
                self.read_sock()
            elif events & (select.EPOLLHUP | select.EPOLLERR):
                self.close()
        except (OSError, ValueError):  # ssl.SSLError is an OSError
            self.close()

    def on_app(self, events: int) -> None:
        """Handle events of the app's side."""
        try:
            if not self.open:
                self.app_connected(self.app.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR))
                return
            if events & select.EPOLLOUT:
                self.send_to_app()
            if self.app_events & select.EPOLLIN and events & ~select.EPOLLOUT:  # a read also notices its end
                self.read_app()
        except (OSError, ValueError):
            self.close()

    def read_sock(self) -> None:
        """Read encrypted bytes."""
        server = self.server
        try:
            size = self.sock.recv_into(server.encrypted)
        except BlockingIOError:
            return
        if size:
            self.encrypted_in.write(server.encrypted[:size])
        else:
            self.encrypted_in.write_eof()
        if self.open:
            self.decrypt()
        else:
            self.handshake()

    def handshake(self) -> None:
        """Continue the handshake; connect to the app when the peer has proven to be the gateway."""
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            self.send_to_sock()
            return
        except ssl.SSLError:
            self.send_to_sock()  # the alert that gives the reason
            self.close()
            return
        # The authority has also signed other jobs' certificates: only this name is the gateway's.
        certificate = self.tls.getpeercert() or {}
        if ("DNS", GATEWAY_NAME) not in certificate.get("subjectAltName", ()):
            self.close()
            return
        self.server.unfinished.pop(self, None)
        self.send_to_sock()
        self.connect_to_app()

    def connect_to_app(self) -> None:
        """Connect to the app. What the gateway sends meanwhile waits in the kernel."""
        if self.closed:
            return
        self.watch_sock(0)
        family, address = self.server.target(self.tls.selected_alpn_protocol())
        if self.app is None:
            self.app = _socket.socket(family, _socket.SOCK_STREAM)
            self.app.setblocking(False)
        error = self.app.connect_ex(address)
        if error == errno.EAGAIN:  # its queue of connections is full (unix(7))
            self.server.waiting.append(self)
        elif error == errno.EINPROGRESS:
            self.server.handlers[self.app.fileno()] = self.on_app
            self.watch_app(select.EPOLLOUT)
        else:
            self.app_connected(error)

    def app_connected(self, error: int) -> None:
        """Begin to forward bytes, or close: the app is connected, or not."""
        if error:
            self.close()
            return
        if self.app.family != _socket.AF_UNIX:
            self.app.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        self.open = True
        self.server.handlers[self.app.fileno()] = self.on_app
        self.watch_app(select.EPOLLIN)
        self.watch_sock(select.EPOLLIN)
        self.decrypt()

    def decrypt(self) -> None:
        """Send the app what has arrived. Reading stops while the app is slow."""
        plain = self.server.plain
        tls = self.tls
        more = True
        while more and not self.app_to_send and not self.sock_ended:
            size = 0
            try:
                while more and size < len(plain) // 2:
                    got = int(tls.read(len(plain) // 2, plain[size:]))
                    if not got:
                        self.sock_ended = True
                        break
                    size += got
                    more = bool(self.encrypted_in.pending or tls.pending())
            except ssl.SSLWantReadError:
                more = False
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                self.sock_ended = True
            if size:
                self.give_app(plain[:size])
            if self.encrypted_out.pending:  # TLS had data of its own to send
                self.send_to_sock()
        if self.sock_ended:
            self.watch_sock(self.sock_events & ~select.EPOLLIN)
            if not self.app_to_send:
                self.end_app_side()

    def give_app(self, data: memoryview) -> None:
        """Send to the app; keep what it does not accept."""
        if self.app_refuses:
            return
        try:
            sent = self.app.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.app_refuses = True  # it may have answered before it closed: that answer still goes to the gateway
            return
        if sent < len(data):
            self.app_to_send = bytes(data[sent:])
            self.watch_sock(self.sock_events & ~select.EPOLLIN)
            self.watch_app(self.app_events | select.EPOLLOUT)

    def send_to_app(self) -> None:
        """Send what has been waiting for the app."""
        try:
            sent = self.app.send(self.app_to_send)
        except BlockingIOError:
            return
        except OSError:
            self.app_refuses = True
            sent = len(self.app_to_send)
        self.app_to_send = self.app_to_send[sent:]
        if self.app_to_send:
            return
        self.watch_app(self.app_events & ~select.EPOLLOUT)
        if self.sock_ended:
            self.end_app_side()
        else:
            self.watch_sock(self.sock_events | select.EPOLLIN)
            self.decrypt()

    def end_app_side(self) -> None:
        """Shut our side towards the app down, because the gateway has ended its own. The app may still answer."""
        if self.closed:
            return
        if self.app_ended:
            if not self.sock_to_send:
                self.close()
            return
        try:
            self.app.shutdown(_socket.SHUT_WR)
        except OSError:
            pass

    def read_app(self) -> None:
        """Read bytes from the app and encrypt them."""
        plain = self.server.plain
        try:
            size = self.app.recv_into(plain, len(plain) // 2)
        except BlockingIOError:
            return
        except OSError:
            self.app_failed = True
            size = 0
        if not size:
            self.end_sock_side()
            return
        tls = self.tls
        at = tls.write(plain[:size])
        while at < size:  # a record at a time
            at += tls.write(plain[at:size])
        self.send_to_sock()

    def send_to_sock(self) -> None:
        """Send encrypted bytes. Reading from the app stops while the gateway is slow."""
        data = self.sock_to_send or self.encrypted_out.read()
        while data:
            try:
                sent = self.sock.send(data)
            except BlockingIOError:
                sent = 0
            if sent < len(data):
                self.sock_to_send = data[sent:]
                self.watch_sock(self.sock_events | select.EPOLLOUT)
                if self.open:
                    self.watch_app(self.app_events & ~select.EPOLLIN)
                return
            data = self.encrypted_out.read() if self.encrypted_out.pending else b""
        if self.sock_to_send:
            self.sock_to_send = b""
            self.watch_sock(self.sock_events & ~select.EPOLLOUT)
            if self.open and not self.app_ended:
                self.watch_app(self.app_events | select.EPOLLIN)
        if self.app_ended:
            self.finish()

    def end_sock_side(self) -> None:
        """Send close_notify to the gateway, because the app has ended its side; not if it ended by an error."""
        self.app_ended = True
        self.watch_app(self.app_events & ~select.EPOLLIN)
        if not self.app_failed:
            try:
                self.tls.unwrap()
            except OSError:  # the gateway has not answered it yet
                pass
        self.send_to_sock()

    def finish(self) -> None:
        """Finish after everything was sent. The gateway may still have something for the app."""
        if self.sock_ended or self.app_failed:
            self.close()
            return
        try:
            self.sock.shutdown(_socket.SHUT_WR)
        except OSError:
            self.close()

    def close(self) -> None:
        """Close both sides at once."""
        server = self.server
        server.unfinished.pop(self, None)
        for sock in (self.sock, self.app):
            if sock is not None:
                server.handlers.pop(sock.fileno(), None)
                sock.close()  # which takes it out of the epoll, too
        self.closed = self.sock_ended = self.app_ended = True
