"""The listening socket of a worker and all of its clients' connections.

Owns: the socket (shared by SO_REUSEPORT), TLS where a context is given, one coarse timer for every time-out, the
graceful end. Refuses to know what is answered.
"""

import asyncio
import socket
import ssl
from dataclasses import dataclass
from typing import Final

from gateway.wire.client import Client
from gateway.wire.heads import Head
from gateway.wire.request import Handler, Request

BACKLOG: Final = 4096
_KEEPALIVE: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
)
"""The kernel finds a client that is gone without a word within two minutes; connections have it of their listener."""
_TICKS: Final = 20
_REMEMBERED: Final = 1024
_REMEMBER_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Times are seconds, sizes bytes."""

    head: int = 64 * 1024
    """Largest head; more is 431."""
    fields: int = 128
    """Most fields of a head; more is 431."""
    empty_lines: int = 8
    """Most empty lines that are skipped in front of a request line; more is 400."""
    head_time: float = 30.0
    """From the first byte of a head, or from the connection's beginning, to its end; more is 408."""
    idle_time: float = 90.0
    """How long a connection may wait for its next request."""
    close_time: float = 30.0
    """How long a client may take to read what was sent last."""
    buffer: int = 256 * 1024
    """Bytes that wait in memory for a client that reads slowly, before its answer stops."""


class Server:
    """`listen`, and every request goes to `handler`; `stop_accepting`, then `close`. Used from one event loop."""

    def __init__(
        self,
        handler: Handler,
        *,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
        only: tuple[bytes, bytes] | None = None,
        response_field: tuple[bytes, bytes] | None = None,
    ) -> None:
        """`only`: the one method and path that are answered here; all else is 404, and nobody is asked about it.

        `response_field`: what every response has besides its own fields.
        """
        self.handle = handler.handle if only is None else self._handle_only
        self._handler = handler
        self._only = only
        self.response_fields = b"%b: %b\r\n" % response_field if response_field is not None else b""
        self.limits = limits or Limits()
        self.loop = asyncio.get_running_loop()
        self.now = self.loop.time
        self.clients: set[Client] = set()
        self.draining = False
        self.seen: dict[bytes, Head] = {}  # heads that may come again, by their bytes behind the first line
        self._forget_at = self.now() + _REMEMBER_SECONDS
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def listen(self, host: str, port: int) -> None:
        """Accept connections on `host` (a name or an address; `::` takes IPv4 too) and `port`. Raises OSError."""
        found = await self.loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            for level, option, value in _KEEPALIVE:
                sock.setsockopt(level, option, value)
            sock.bind(address)
            sock.setblocking(False)  # noqa: FBT003 - the standard library's signature
            self._server = await self.loop.create_server(
                lambda: Client(self), sock=sock, backlog=BACKLOG, ssl=self._tls
            )
        except BaseException:
            sock.close()
            raise
        self._timer = self.loop.call_later(self._pause(), self._tick)

    def remember(self, block: bytes, head: Head) -> None:
        """Put a head among those that need not be read again."""
        if len(self.seen) >= _REMEMBERED:
            self.seen.clear()  # to find the oldest costs more than to read a head again
        self.seen[block] = head

    def _handle_only(self, request: Request) -> None:
        if (request.method, request.target) == self._only and not request.head.websocket:
            self._handler.handle(request)
        else:
            request.respond(404, [(b"content-type", b"text/plain")], b"There is nothing here.\n")

    def stop_accepting(self) -> None:
        """No new connections; those that wait for a request close, the others do after their answer."""
        self.draining = True
        if self._server is not None:
            self._server.close()
        for client in list(self.clients):
            if client.request is None:
                client.finish()

    def close(self) -> None:
        """Cut what is left."""
        self.stop_accepting()
        if self._timer is not None:
            self._timer.cancel()
        for client in list(self.clients):
            client.cut()

    def _pause(self) -> float:
        limits = self.limits
        return max(0.05, min(1.0, limits.head_time / _TICKS, limits.idle_time / _TICKS, limits.close_time / _TICKS))

    def _tick(self) -> None:
        """Look after the connections that wait: one pass for all, no timer for each."""
        self._timer = self.loop.call_later(self._pause(), self._tick)
        limits = self.limits
        now = self.now()
        if now > self._forget_at:
            # They hold credentials: none is to lie about for long.
            self._forget_at = now + _REMEMBER_SECONDS
            self.seen.clear()
        for client in list(self.clients):
            if client.closing_since:
                if now - client.closing_since > limits.close_time:
                    client.cut()
            elif client.request is None:
                client.waited(now - client.since, limits)
