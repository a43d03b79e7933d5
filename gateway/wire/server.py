"""The listening socket of a worker and all of its clients' connections.

Owns the socket (shared by SO_REUSEPORT), optional TLS, one timer for all time limits, and the graceful shutdown.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Final

from gateway.wire.client import Client
from gateway.wire.context import ListenerContext
from gateway.wire.limits import ConnectionLimits
from gateway.wire.request import Handler, Request

BACKLOG: Final = 4096
_KEEPALIVE: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
)
"""The kernel finds a client that vanished within two minutes; connections inherit this from their listener."""
_TICKS: Final = 20  # in the shortest time limit


def _no_address(_address: str) -> bool:
    return False


class Server:
    """`listen`, and every request goes to `handler`; `stop_accepting`, then `close`. Used from one event loop."""

    def __init__(
        self,
        handler: Handler,
        *,
        limits: ConnectionLimits | None = None,
        tls: ssl.SSLContext | None = None,
        only: tuple[bytes, bytes] | None = None,
        upgrades: bytes = b"",
        response_field: tuple[bytes, bytes] | None = None,
        uncounted: Callable[[str], bool] = _no_address,
    ) -> None:
        """`only`: the one method and path that are served; everything else is 404, without calling the handler.

        `upgrades`: with `only`, the path at which WebSockets are served. Without it there are none.
        `response_field`: a further header line of every response. `uncounted`: whether `limits.per_address` does not
        apply to an address.
        """
        self.context = ListenerContext(
            handler.handle if only is None else self._handle_only,
            limits=limits or ConnectionLimits(),
            response_fields=b"%b: %b\r\n" % response_field if response_field is not None else b"",
            uncounted=uncounted,
        )
        self._handler = handler
        self._only = only
        self._upgrades = upgrades
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def listen(self, host: str, port: int) -> None:
        """Accept connections on `host` (a name or an address; `::` takes IPv4 too) and `port`. Raises OSError."""
        loop = self.context.loop
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            for level, option, value in _KEEPALIVE:
                sock.setsockopt(level, option, value)
            sock.bind(address)
            sock.setblocking(False)  # noqa: FBT003 - the standard library's signature
            self._server = await loop.create_server(
                lambda: Client(self.context), sock=sock, backlog=BACKLOG, ssl=self._tls
            )
        except BaseException:
            sock.close()
            raise
        self._timer = loop.call_later(self._pause(), self._tick)

    def _handle_only(self, request: Request) -> None:
        websocket = request.head.websocket
        if (request.target == self._upgrades) if websocket else ((request.method, request.target) == self._only):
            self._handler.handle(request)
        else:
            request.respond(404, [(b"content-type", b"text/plain")], b"There is nothing here.\n")

    def stop_accepting(self) -> None:
        """Accept no new connections. Those that wait for a request close now, the others after their response."""
        self.context.draining = True
        if self._server is not None:
            self._server.close()
        for connection in list(self.context.connections):
            connection.close_if_idle()

    def close(self) -> None:
        """Close the remaining connections at once."""
        self.stop_accepting()
        if self._timer is not None:
            self._timer.cancel()
        for connection in list(self.context.connections):
            connection.abort()

    def _pause(self) -> float:
        limits = self.context.limits
        shortest = min(limits.head_time, limits.idle_time, limits.body_time, limits.write_time, limits.close_time)
        return max(0.05, min(1.0, shortest / _TICKS))

    def _tick(self) -> None:
        self._timer = self.context.loop.call_later(self._pause(), self._tick)
        self.context.check(self.context.now())
