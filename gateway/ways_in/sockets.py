"""The ways in to apps on this machine: their unix sockets, and ports of the loopback.

Owns the check of who listens on a unix socket, and TCP's keepalive.
"""

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from typing import Final

from gateway.ways_in import unix_socket
from gateway.ways_in.contract import P
from state.records.models import Endpoint

_KEEPALIVE: Final = (
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
)
_CREDENTIALS: Final = struct.Struct("3i")  # unix(7), SO_PEERCRED: pid, uid, gid


class UnixWayIn:
    """See `gateway.ways_in.contract.WayIn`: endpoints of kind `unix`."""

    async def open(self, endpoint: Endpoint, protocol: Callable[[], P]) -> P:
        """See the contract."""
        transport, made = await unix_socket.connect(protocol, endpoint.path)
        if (uid := _owner(transport)) != os.geteuid():
            transport.abort()
            raise PermissionError(f"the socket belongs to the user with id {uid}")
        return made

    async def close(self) -> None:
        """See the contract."""


class TcpWayIn:
    """See `gateway.ways_in.contract.WayIn`: endpoints of kind `tcp`."""

    async def open(self, endpoint: Endpoint, protocol: Callable[[], P]) -> P:
        """See the contract."""
        loop = asyncio.get_running_loop()
        transport, made = await loop.create_connection(protocol, endpoint.host, endpoint.port)
        keep_alive(transport)
        return made

    async def close(self) -> None:
        """See the contract."""


def _owner(transport: asyncio.BaseTransport) -> int:
    """Return the owner of the socket: another user who created it would receive the app's secret."""
    sock = transport.get_extra_info("socket")
    _, uid, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return int(uid)


def keep_alive(transport: asyncio.BaseTransport) -> None:
    """Let the kernel detect within two minutes that a peer has vanished."""
    sock = transport.get_extra_info("socket")
    for level, option, value in _KEEPALIVE:
        sock.setsockopt(level, option, value)
