"""The process that keeps connections to the hub waiting for requests, and forwards bytes between it and the app.

One epoll loop carries the bytes; each connection is opened in a thread, because names, proxies and TLS take their time.
"""

import _socket
import _thread
import os
import select
import ssl
import time

from batch.starter.hub_upgrade import ENDED, RefusedError, upgrade
from batch.starter.reverse_connection import HttpsSocket, ReverseConnection
from batch.starter.sockets import allow_many_descriptors
from batch.starter.tls_server import HANDSHAKE_TIMEOUT, TlsServer, app_address, server_context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Union

    from batch.starter.tls_server import Address

QUIET_SIZE = 2  # connections that wait while the app is not used
BUSY_SIZE = 8
BUSY_SECONDS = 60.0  # since the last request
DIALS = 4  # at the same time
LOOK_SECONDS = 20.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.5  # seconds between two tries
PATIENCE = 60.0  # seconds without the hub after which pauses become longer
LONG_PAUSE = 10.0


class ReversePool(TlsServer):
    """The connections to the hub."""

    def __init__(
        self,
        spec: "dict[str, Any]",
        app: "tuple[int, Address]",
        lifeline: int,
        ready: "Callable[[], None]",
        note: "Callable[[str], None]",
    ) -> None:
        """`app`: family and address. `ready` is called when the hub has answered for the first time, or did not."""
        context = server_context(spec["passport"])
        TlsServer.__init__(self, None, context, *app, lifeline)  # type: ignore[arg-type]
        self.spec = spec
        self.urls = dial_urls(spec)
        self.note = note
        self.ready: "Callable[[], None] | None" = ready
        self.connections: "set[ReverseConnection]" = set()
        self.dialling = 0
        self.dialled: "list[tuple[Union[_socket.socket, ssl.SSLSocket, None], bytes, str, bool]]" = []
        self.wake, self.waker = os.pipe()
        self.used_at = -BUSY_SECONDS
        self.look_at = time.monotonic() + LOOK_SECONDS
        self.dial_at = 0.0
        self.failing_since = 0.0  # 0: the last try succeeded
        self.pause = FIRST_PAUSE
        self.failure = ""  # that was noted

    def run(self) -> None:
        """Serve until the other end of the lifeline closes."""
        self.epoll.register(self.lifeline, select.EPOLLIN)
        self.epoll.register(self.wake, select.EPOLLIN)
        while True:
            now = time.monotonic()
            self.tick(now)
            self.dial(now)
            for fd, what in self.epoll.poll(self.time_to_wait(time.monotonic())):
                handler = self.handlers.get(fd)
                if handler is not None:
                    handler(what)
                elif fd == self.wake:
                    self.take_dialled()
                elif fd == self.lifeline:
                    return

    def time_to_wait(self, now: float) -> float:
        """Return the seconds until something is due."""
        if self.waiting:
            return 0.01
        due = self.look_at
        if self.lacking(now) > 0:
            due = min(due, self.dial_at)
        if self.unfinished:
            due = min(due, now + 0.25)
        return max(0.0, due - now)

    def tick(self, now: float) -> None:
        """See TlsServer. Look whether the hub still answers."""
        TlsServer.tick(self, now)
        if now >= self.look_at:
            self.look_at = now + LOOK_SECONDS
            for connection in list(self.connections):
                try:
                    connection.look()
                except OSError:
                    connection.close()

    # --- how many wait

    def lacking(self, now: float) -> int:
        """Return how many connections must be opened. While that fails, one at a time."""
        size = BUSY_SIZE if now - self.used_at < BUSY_SECONDS else QUIET_SIZE
        there = self.dialling + len(self.unfinished) + sum(1 for each in self.connections if each.waiting)
        most = 1 if self.failing_since else DIALS
        return min(size - there, most - self.dialling)

    def dial(self, now: float) -> None:
        """Open what is missing."""
        if now < self.dial_at:
            return
        for _ in range(self.lacking(now)):
            self.dialling += 1
            _thread.start_new_thread(self.open_one, ())

    def taken(self) -> None:
        """A waiting connection has got a request."""
        self.used_at = time.monotonic()

    def proven(self) -> None:
        """The hub has accepted a connection, and proven to be our gateway."""
        self.failing_since = 0.0
        self.pause = FIRST_PAUSE
        self.failure = ""
        self.first_answer()

    def lost(self, connection: ReverseConnection) -> None:
        """A connection has ended."""
        if connection in self.connections:
            self.connections.discard(connection)
            if connection.waiting:  # a gateway has ended, or does not need it any more
                self.dial_at = max(self.dial_at, time.monotonic() + FIRST_PAUSE * (1 + os.urandom(1)[0] / 255.0))
            elif connection.app is None:
                self.failed("the gateway did not prove to be this hub's", False)

    def failed(self, why: str, ended: bool) -> None:
        """Try again later. `ended`: this attempt is not known to the hub any more, or not yet again."""
        now = time.monotonic()
        self.failing_since = self.failing_since or now
        longest = LONG_PAUSE if ended or now - self.failing_since > PATIENCE else LONGEST_PAUSE
        self.pause = min(self.pause * 2, longest)
        self.dial_at = now + self.pause * (0.5 + os.urandom(1)[0] / 510.0)
        if why != self.failure:
            self.failure = why
            self.note("No connection waits at the hub: %s." % why)
        self.first_answer()

    def first_answer(self) -> None:
        """The starter may go on."""
        ready, self.ready = self.ready, None
        if ready:
            ready()

    # --- opening

    def open_one(self) -> None:
        """Open a connection, in a thread."""
        why, ended = "the hub has no address that may be used", False
        for url in self.urls:
            try:
                sock, early = upgrade(url, self.spec)
            except RefusedError as error:
                why, ended = str(error), error.status in ENDED
            except (OSError, ValueError) as error:
                why = str(error) or repr(error)
            else:
                self.dialled.append((sock, early, "", False))
                break
        else:
            self.dialled.append((None, b"", why, ended))
        os.write(self.waker, b"x")

    def take_dialled(self) -> None:
        """Take what the threads have opened."""
        os.read(self.wake, 64)
        while self.dialled:
            sock, early, why, ended = self.dialled.pop(0)
            self.dialling -= 1
            if sock is None:
                self.failed(why, ended)
                continue
            try:
                self.add(sock, early)
            except (OSError, ValueError) as error:
                self.failed(str(error) or repr(error), False)

    def add(self, sock: "Union[_socket.socket, ssl.SSLSocket]", early: bytes) -> None:
        """Begin to use a connection. Raises OSError and ValueError."""
        carrier = HttpsSocket(sock) if isinstance(sock, ssl.SSLSocket) else sock
        try:
            connection = ReverseConnection(self, carrier)
        except BaseException:
            sock.close()
            raise
        self.connections.add(connection)
        self.unfinished[connection] = time.monotonic() + HANDSHAKE_TIMEOUT
        connection.begin(early)


def dial_urls(spec: "dict[str, Any]") -> "list[str]":
    """Return the URLs for connections to the hub: those of reports, with another last part."""
    urls = [url.rpartition("/")[0] + "/reverse" for url in spec["hub_urls"]]
    return [url for url in urls if url[:8] == "https://" or spec.get("plain_reports", True)]


def serve(
    spec: "dict[str, Any]",
    endpoint: "dict[str, Any]",
    lifeline: int,
    ready: "Callable[[], None]",
    note: "Callable[[str], None]",
) -> None:
    """Keep connections waiting, and forward bytes, until the lifeline's other end closes."""
    allow_many_descriptors()
    ReversePool(spec, app_address(endpoint), lifeline, ready, note).run()
