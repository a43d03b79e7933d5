"""Opens a byte stream to an app. Only this module knows the kinds of endpoint.

Owns `open_stream`. A new kind (ssh, reverse) is one more case here. Does not know what flows through it.
"""

import asyncio
import logging
import os
import socket
import ssl
import struct
from collections.abc import Callable
from typing import Final, TypeVar

from gateway.tunnel import unix_socket
from gateway.tunnel.errors import UpstreamError
from gateway.tunnel.identity import GatewayIdentity
from state.records.models import Endpoint

log = logging.getLogger("towpath.tunnel")

P = TypeVar("P", bound=asyncio.BaseProtocol)

_KEEPALIVE = (
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
)
_CREDENTIALS: Final = struct.Struct("3i")  # unix(7), SO_PEERCRED: pid, uid, gid


async def open_stream(
    endpoint: Endpoint,
    protocol: Callable[[], P],
    *,
    timeout: float,  # noqa: ASYNC109 - seconds from the options; asyncio.timeout is used inside
    identity: GatewayIdentity | None = None,
) -> P:
    """Connect to `endpoint` within `timeout` seconds. `identity`: for endpoints of kind `tls`.

    Raises UpstreamError: "identity" if the gateway has no certificate for nodes, otherwise "refused".
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout):
            if endpoint.kind == "unix":
                local, made = await unix_socket.connect(protocol, endpoint.path)
                if (uid := _owner(local)) != os.geteuid():
                    local.abort()
                    raise PermissionError(f"the socket belongs to the user with id {uid}")
                return made
            if endpoint.kind == "tcp":
                transport, made = await loop.create_connection(protocol, endpoint.host, endpoint.port)
                keep_alive(transport)
                return made
            if endpoint.kind == "tls" and endpoint.name:
                context = await _known(identity).context()
                transport, made = await loop.create_connection(
                    protocol,
                    endpoint.host,
                    endpoint.port,
                    ssl=context,
                    server_hostname=endpoint.name,
                    ssl_shutdown_timeout=timeout,
                )
                keep_alive(transport)
                return made
    except ssl.SSLCertVerificationError as error:
        log.warning("%s does not prove to be %s: %s", endpoint.host, endpoint.name, error.verify_message)
        raise UpstreamError("refused", f"{endpoint}: {error!r}") from error
    except (OSError, TimeoutError, ValueError) as error:
        raise UpstreamError("refused", f"{endpoint}: {error!r}") from error
    raise UpstreamError("refused", f"no way to open an endpoint of kind {endpoint.kind!r}")


def _known(identity: GatewayIdentity | None) -> GatewayIdentity:
    if identity is None:
        raise UpstreamError("identity", "this gateway was given no certificates")
    return identity


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
