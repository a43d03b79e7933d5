"""Forwards bytes between two sockets, both ways, unparsed: one epoll loop for many pairs.

If a side does not accept its bytes, reading from the other stops. Either side may end first.
"""

import _socket
import errno
import select
import time

from batch.starter.sockets import change_events

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Tuple, Union

    Address = Union[str, Tuple[Union[str, bytes, int], ...]]

READ_SIZE = 131072
ACCEPT_AT_ONCE = 32
PAUSE = 0.02  # seconds
CONNECT_SECONDS = 20.0
NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Loop:
    """Calls handlers of descriptors until the other end of the lifeline closes."""

    def __init__(self, lifeline: int) -> None:
        self.lifeline = lifeline
        self.epoll = select.epoll()
        self.handlers: "dict[int, Callable[[int], None]]" = {}
        self.paused: "list[tuple[float, Callable[[], None]]]" = []
        self.buffer = memoryview(bytearray(READ_SIZE))
        self.epoll.register(lifeline, select.EPOLLIN)

    def run(self) -> None:
        """Run until the lifeline ends."""
        while True:
            for fd, events in self.epoll.poll(PAUSE if self.paused else -1):
                handler = self.handlers.get(fd)
                if handler is not None:
                    handler(events)
                elif fd == self.lifeline:
                    return
            now = time.monotonic()
            due = [resume for at, resume in self.paused if at <= now]
            self.paused = [one for one in self.paused if one[0] > now]
            for resume in due:
                resume()

    def watch(self, fd: int, handler: "Callable[[int], None]") -> None:
        """Call the handler while there is something to read."""
        self.handlers[fd] = handler
        self.epoll.register(fd, select.EPOLLIN)

    def serve(self, listener: "_socket.socket", accept: "Callable[[_socket.socket], None]") -> None:
        """Call `accept` with each new connection of a non-blocking listener."""

        def watch() -> None:
            self.watch(listener.fileno(), take)

        def take(events: int) -> None:
            for _ in range(ACCEPT_AT_ONCE):
                try:
                    fd, _ = listener._accept()  # type: ignore[attr-defined]
                except BlockingIOError:
                    return
                except OSError as error:
                    if error.errno in NO_DESCRIPTORS:
                        del self.handlers[listener.fileno()]
                        self.epoll.unregister(listener.fileno())
                        self.paused.append((time.monotonic() + 0.1, watch))
                    return
                sock = _socket.socket(listener.family, listener.type, listener.proto, fd)
                sock.setblocking(False)
                accept(sock)

        watch()


class Side:
    """One of the two sockets."""

    __slots__ = ("broken", "ended", "events", "refuses", "sock", "to_send")

    def __init__(self, sock: "_socket.socket") -> None:
        self.sock = sock
        self.events = 0  # what it is watched for
        self.to_send = b""  # bytes that it has not accepted yet
        self.ended = False  # it will send nothing more
        self.broken = False  # it ended by an error
        self.refuses = False  # it accepts nothing more


class Relay:
    """A pair of connected, non-blocking sockets; it closes both at the end."""

    __slots__ = ("loop", "one", "other")

    def __init__(self, loop: Loop, one: "_socket.socket", other: "_socket.socket", first: bytes = b"") -> None:
        """`first`: bytes for `other` that have arrived from `one` already."""
        self.loop = loop
        self.one = Side(one)
        self.other = Side(other)
        for side, opposite in ((self.one, self.other), (self.other, self.one)):
            loop.handlers[side.sock.fileno()] = self.handler(side, opposite)
            self.watch(side, select.EPOLLIN)
        if first:
            try:
                self.give(self.one, self.other, first)
            except OSError:
                self.close()

    def handler(self, side: Side, opposite: Side) -> "Callable[[int], None]":
        """Return the handler for the events of a side."""

        def handle(events: int) -> None:
            try:
                if side.events & select.EPOLLOUT and events & ~select.EPOLLIN:  # a send also notices its end
                    self.flush(opposite, side)
                if side.events & select.EPOLLIN and events & ~select.EPOLLOUT:
                    self.read(side, opposite)
            except OSError:
                self.close()

        return handle

    def watch(self, side: Side, events: int) -> None:
        """Watch these events of a side; 0: none, or epoll would report its end for ever."""
        if events != side.events and side.sock.fileno() >= 0:
            change_events(self.loop.epoll, side.sock, side.events, events)
            side.events = events

    def read(self, source: Side, target: Side) -> None:
        """Read bytes from a side and send them to the other."""
        try:
            size = source.sock.recv_into(self.loop.buffer)
        except BlockingIOError:
            return
        except OSError:
            source.broken = True
            size = 0
        if size:
            self.give(source, target, self.loop.buffer[:size])
            return
        source.ended = True
        self.watch(source, source.events & ~select.EPOLLIN)
        if not target.to_send:
            self.end(source, target)

    def give(self, source: Side, target: Side, data: "bytes | memoryview") -> None:
        """Send to a side. Reading from the other stops while it does not accept all bytes."""
        if target.refuses:
            return
        try:
            sent = target.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            target.refuses = True  # what it sent before it closed is still read
            return
        if sent < len(data):
            target.to_send = bytes(data[sent:])
            self.watch(source, source.events & ~select.EPOLLIN)
            self.watch(target, target.events | select.EPOLLOUT)

    def flush(self, source: Side, target: Side) -> None:
        """Send what has been waiting for this side."""
        data, target.to_send = target.to_send, b""
        self.watch(target, target.events & ~select.EPOLLOUT)
        self.give(source, target, data)
        if target.to_send:
            return
        if source.ended:
            self.end(source, target)
        else:
            self.watch(source, source.events | select.EPOLLIN)

    def end(self, source: Side, target: Side) -> None:
        """Shut the other side down for writing: everything from this side was sent."""
        if source.broken or (target.ended and not source.to_send):
            self.close()
            return
        try:
            target.sock.shutdown(_socket.SHUT_WR)
        except OSError:
            target.refuses = True

    def close(self) -> None:
        """Close both at once."""
        for side in (self.one, self.other):
            self.loop.handlers.pop(side.sock.fileno(), None)
            side.sock.close()  # which takes it out of the epoll, too


def connect(loop: Loop, family: int, address: "Address", done: "Callable[[_socket.socket | None], None]") -> None:
    """Connect without blocking; call `done` with the socket, or None if there is no connection.

    Tries again while the app has as many unaccepted connections on its unix socket as it allows: EAGAIN (connect(2)).
    """
    sock = _socket.socket(family, _socket.SOCK_STREAM)
    sock.setblocking(False)
    if family != _socket.AF_UNIX:
        sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
    limit = time.monotonic() + CONNECT_SECONDS

    def decided(error: int) -> None:
        if error:
            sock.close()
        done(None if error else sock)

    def writable(events: int) -> None:
        del loop.handlers[sock.fileno()]
        loop.epoll.unregister(sock.fileno())
        decided(sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR))

    def attempt() -> None:
        try:
            error = sock.connect_ex(address)
        except OSError as failure:  # a name that is no address
            error = failure.errno or errno.EINVAL
        if error == errno.EINPROGRESS:
            loop.handlers[sock.fileno()] = writable
            loop.epoll.register(sock.fileno(), select.EPOLLOUT)
        elif error == errno.EAGAIN and time.monotonic() < limit:
            loop.paused.append((time.monotonic() + PAUSE, attempt))
        else:
            decided(error)

    attempt()
