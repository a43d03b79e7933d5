"""The HTTP proxy of an isolated app: CONNECT for everything, and plain requests for http URLs.

It listens inside the app's network and connects outside of it, as the user: the app can reach what the user can reach
from the node. If the node itself uses a proxy (`http_proxy`, `https_proxy`, `no_proxy`), this proxy uses it too.

Source: RFC 9110 section 9.3.6 (CONNECT), RFC 9112 section 3.2 (forms of the request's target).
"""

import _socket
import os
import sys

from batch.starter.proxy_head import read_request, upstream_for
from batch.starter.relay import Loop, Relay, connect
from batch.starter.sockets import allow_many_descriptors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, List, Mapping, Tuple

    from batch.starter.proxy_head import ProxyRequest
    from batch.starter.relay import Address

    Addresses = List[Tuple[int, Address]]

HEAD_BYTES = 65536
CONNECTED = b"HTTP/1.1 200 Connection established\r\n\r\n"
REFUSED = b"HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
BAD_REQUEST = b"400 Bad Request"
BAD_GATEWAY = b"502 Bad Gateway"


def serve(listener: int, environment: "Mapping[str, str]", lifeline: int, ready: "Callable[[], None]") -> None:
    """Serve until the lifeline ends. `environment`: the node's own proxies."""
    allow_many_descriptors()
    loop = Loop(lifeline)
    resolver = Resolver(loop)
    sock = _socket.socket(fileno=listener)
    sock.setblocking(False)
    loop.serve(sock, lambda client: Client(loop, resolver, environment, client).wait())
    ready()
    loop.run()


class Resolver:
    """Looks names up in threads, because a lookup blocks. The results return to the loop through a pipe."""

    def __init__(self, loop: Loop) -> None:
        self.read, self.write = os.pipe()
        self.waiting: "dict[int, Callable[[Addresses], None]]" = {}
        self.answers: "dict[int, Addresses]" = {}
        self.count = 0
        loop.watch(self.read, self.answered)

    def resolve(self, host: str, port: int, done: "Callable[[Addresses], None]") -> None:
        """Call `done` with (family, address) of each address; none if the name is not known."""
        import _thread

        self.count += 1
        self.waiting[self.count] = done
        _thread.start_new_thread(self.look_up, (self.count, host, port))

    def look_up(self, number: int, host: str, port: int) -> None:
        """Look a name up, in a thread."""
        try:
            found = _socket.getaddrinfo(host, port, 0, _socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            found = []
        self.answers[number] = [(entry[0], entry[4]) for entry in found]
        os.write(self.write, number.to_bytes(8, sys.byteorder))

    def answered(self, events: int) -> None:
        """Pass the results on, in the loop."""
        number = int.from_bytes(os.read(self.read, 8), sys.byteorder)
        self.waiting.pop(number)(self.answers.pop(number))


class Client:
    """One connection of the app: the head of its request is read, then bytes are forwarded."""

    def __init__(
        self, loop: Loop, resolver: Resolver, environment: "Mapping[str, str]", sock: "_socket.socket"
    ) -> None:
        self.loop = loop
        self.resolver = resolver
        self.environment = environment
        self.sock = sock
        self.head = b""

    def wait(self) -> None:
        """Wait for the head."""
        self.loop.watch(self.sock.fileno(), self.readable)

    def readable(self, events: int) -> None:
        """Continue to read until the head is complete."""
        try:
            part = self.sock.recv(HEAD_BYTES)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        self.head += part
        if part and b"\r\n\r\n" not in self.head and len(self.head) < HEAD_BYTES:
            return
        del self.loop.handlers[self.sock.fileno()]
        self.loop.epoll.unregister(self.sock.fileno())
        request = read_request(self.head)
        if not part or request is None:
            self.refuse(BAD_REQUEST, b"This is a proxy: send CONNECT, or a request for an http URL.\n")
            return
        upstream = upstream_for(request, self.environment)
        host, port = (upstream.host, upstream.port) if upstream else (request.host, request.port)
        first = upstream.head(request) if upstream else request.direct
        self.resolver.resolve(host, port, lambda found: self.connect(found, request, first, upstream is None))

    def connect(self, addresses: "Addresses", request: "ProxyRequest", first: bytes, direct: bool) -> None:
        """Try the addresses one after the other.

        `first`: sent to the host; `direct`: no proxy, so we answer a CONNECT.
        """
        if not addresses:
            self.refuse(BAD_GATEWAY, b"The host cannot be reached from this node.\n")
            return
        family, address = addresses[0]

        def done(sock: "_socket.socket | None") -> None:
            if sock is None:
                self.connect(addresses[1:], request, first, direct)
                return
            try:
                if direct and request.connect:
                    self.sock.send(CONNECTED)
            except OSError:
                sock.close()
                self.sock.close()
                return
            Relay(self.loop, self.sock, sock, first)

        try:
            connect(self.loop, family, address, done)
        except OSError:  # no such family here
            self.connect(addresses[1:], request, first, direct)

    def refuse(self, status: bytes, text: bytes) -> None:
        """Respond that it cannot be done."""
        try:
            self.sock.send(REFUSED % (status, len(text), text))
            self.sock.shutdown(_socket.SHUT_WR)
        except OSError:
            self.sock.close()
            return
        self.loop.watch(self.sock.fileno(), self.discard)  # closing with unread bytes would discard the response

    def discard(self, events: int) -> None:
        """Read and drop what arrives after a response, until the app closes."""
        try:
            if self.sock.recv(HEAD_BYTES):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        del self.loop.handlers[self.sock.fileno()]
        self.sock.close()
