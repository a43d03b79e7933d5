"""The process that accepts the gateway's TLS connections, and forwards bytes between it and the app, unparsed.

One process, one epoll loop. TLS runs over memory, so that a read of it never waits for a write, and the app may end its
side first.
"""

import _socket
import errno
import os
import select
import ssl
import time

from batch.starter.sockets import allow_many_descriptors
from batch.starter.tls_connection import TlsConnection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Union

    Address = Union[str, "tuple[str, int]"]

HANDSHAKE_TIMEOUT = 10.0
MAX_UNFINISHED = 128  # connections that have not shown the gateway's certificate yet
ACCEPT_AT_ONCE = 32
SSH_PROTOCOL = "towpath-ssh"
"""What the gateway names in the handshake (ALPN, RFC 7301) for a connection to SSH in place of the app."""
READ_SIZE = 131072  # bytes that are read from one connection before the next one is served


def load_pem(load: "Callable[..., object]", *texts: str) -> None:
    """Pass PEM texts to a function that takes paths: a pipe has one, and nothing is written to a disk."""
    ends = []
    try:
        for text in texts:
            read, write = os.pipe()
            ends.append(read)
            try:
                os.write(write, text.encode("ascii"))  # a few KiB: it fits
            finally:
                os.close(write)
        load(*["/proc/self/fd/%d" % end for end in ends])
    finally:
        for end in ends:
            os.close(end)


def server_context(passport: "dict[str, str]") -> ssl.SSLContext:
    """Return the TLS context of this attempt, for clients of the hub's authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if hasattr(ssl, "PROTOCOL_TLS_SERVER") else ssl.PROTOCOL_TLS)
    if hasattr(ssl, "TLSVersion"):
        context.minimum_version = ssl.TLSVersion.TLSv1_2
    else:  # Python 3.6
        context.options |= ssl.OP_NO_TLSv1 | ssl.OP_NO_TLSv1_1
    for option in ("OP_NO_TICKET", "OP_NO_RENEGOTIATION", "OP_NO_COMPRESSION", "OP_CIPHER_SERVER_PREFERENCE"):
        context.options |= getattr(ssl, option, 0)
    if hasattr(context, "num_tickets"):
        context.num_tickets = 0  # each connection shows its certificate
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=passport["authority"])
    load_pem(context.load_cert_chain, passport["certificate"], passport["key"])
    context.set_alpn_protocols([SSH_PROTOCOL])
    return context


class TlsServer:
    """The listener and its connections."""

    def __init__(
        self,
        listener: "_socket.socket",
        context: ssl.SSLContext,
        family: int,
        address: "Address",
        lifeline: int,
        *,
        ssh_path: str = "",
    ) -> None:
        """`family` and `address`: the app's socket. `lifeline`: the end of a pipe, which closes when this must end.

        `ssh_path`: the socket of SSH; `""`: none.
        """
        self.context = context
        self.listener = listener
        self.family = family
        self.address = address
        self.lifeline = lifeline
        self.ssh_path = ssh_path
        self.epoll = select.epoll()
        self.handlers: "dict[int, Callable[[int], None]]" = {}
        self.unfinished: "dict[TlsConnection, float]" = {}  # until when the handshake must be complete; oldest first
        self.waiting: "list[TlsConnection]" = []  # the app could not accept one more connection
        self.paused_until = 0.0  # nothing is accepted before: there were no descriptors left
        self.encrypted = memoryview(bytearray(READ_SIZE))
        self.plain = memoryview(bytearray(2 * READ_SIZE))

    def target(self, protocol: "str | None") -> "tuple[int, Address]":
        """Return the socket that a connection leads to. `protocol`: what the gateway has chosen in the handshake."""
        return (_socket.AF_UNIX, self.ssh_path) if protocol else (self.family, self.address)

    def run(self) -> None:
        """Serve until the other end of the lifeline closes."""
        self.epoll.register(self.lifeline, select.EPOLLIN)
        self.watch_listener()
        lifeline = self.lifeline
        handlers = self.handlers
        while True:
            if self.unfinished or self.waiting or self.paused_until:
                events = self.epoll.poll(0.01 if self.waiting else 0.25)
                self.tick(time.monotonic())
            else:
                events = self.epoll.poll()
            for fd, what in events:
                handler = handlers.get(fd)
                if handler is not None:
                    handler(what)
                elif fd == lifeline:
                    return

    def watch_listener(self) -> None:
        """Accept connections."""
        fd = self.listener.fileno()
        self.handlers[fd] = self.accept
        self.epoll.register(fd, select.EPOLLIN)

    def tick(self, now: float) -> None:
        """Close connections whose handshake takes too long; try again what had to wait."""
        late = [connection for connection, limit in self.unfinished.items() if limit <= now]
        for connection in late:
            connection.close()
        waiting, self.waiting = self.waiting, []
        for connection in waiting:
            try:
                connection.connect_to_app()
            except OSError:
                connection.close()
        if self.paused_until and now >= self.paused_until:
            self.paused_until = 0.0
            self.watch_listener()

    def accept(self, what: int) -> None:
        """Accept new connections."""
        for _ in range(ACCEPT_AT_ONCE):
            try:
                fd, peer = self.listener._accept()  # type: ignore[attr-defined]
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self.paused_until = time.monotonic() + 0.1
                    del self.handlers[self.listener.fileno()]
                    self.epoll.unregister(self.listener.fileno())
                return
            if len(self.unfinished) >= MAX_UNFINISHED:
                self.make_room()
            sock = _socket.socket(self.listener.family, self.listener.type, self.listener.proto, fd)
            try:
                connection = TlsConnection(self, sock, peer[0])
            except OSError:
                sock.close()
                continue
            self.unfinished[connection] = time.monotonic() + HANDSHAKE_TIMEOUT

    def make_room(self) -> None:
        """Close the oldest unfinished connection of the address that has most of them."""
        counts: "dict[str, int]" = {}
        for connection in self.unfinished:
            counts[connection.peer] = counts.get(connection.peer, 0) + 1
        busiest = max(counts, key=lambda peer: counts[peer])
        next(connection for connection in self.unfinished if connection.peer == busiest).close()


def app_address(endpoint: "dict[str, Any]") -> "tuple[int, Address]":
    """Return the family and the address of the app's socket."""
    if endpoint["kind"] == "unix":
        return _socket.AF_UNIX, endpoint["path"]
    return _socket.AF_INET, (endpoint["host"], endpoint["port"])


def serve(
    listener: "_socket.socket",
    passport: "dict[str, str]",
    endpoint: "dict[str, Any]",
    lifeline: int,
    ready: "Callable[[], None]",
    *,
    ssh_path: str = "",
) -> None:
    """Forward bytes until the lifeline's other end closes. Calls `ready` when connections are accepted."""
    context = server_context(passport)
    allow_many_descriptors()
    server = TlsServer(listener, context, *app_address(endpoint), lifeline, ssh_path=ssh_path)
    ready()
    server.run()
