"""How a byte stream to an app is opened: the one place that knows the kinds of endpoint.

Owns: `open_stream`. A new kind (ssh, reverse) is one more case here. Refuses to know what flows through it.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import TypeVar

from gateway.tunnel.errors import UpstreamError
from state.records import Endpoint

P = TypeVar("P", bound=asyncio.BaseProtocol)

_KEEPALIVE = (
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
)


async def open_stream(endpoint: Endpoint, protocol: Callable[[], P], *, timeout: float) -> P:  # noqa: ASYNC109 - seconds from the options; asyncio.timeout is used inside
    """Connect to `endpoint` within `timeout` seconds. Raises UpstreamError("refused")."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout):
            if endpoint.kind == "unix":
                _, made = await loop.create_unix_connection(protocol, endpoint.path)
                return made
            if endpoint.kind == "tcp":
                transport, made = await loop.create_connection(protocol, endpoint.host, endpoint.port)
                keep_alive(transport)
                return made
    except (OSError, TimeoutError, ValueError) as error:
        raise UpstreamError("refused", f"{endpoint}: {error!r}") from error
    raise UpstreamError("refused", f"no way to open an endpoint of kind {endpoint.kind!r}")


def keep_alive(transport: asyncio.BaseTransport) -> None:
    """Have the kernel find a peer that is gone without a word within two minutes."""
    sock = transport.get_extra_info("socket")
    for level, option, value in _KEEPALIVE:
        sock.setsockopt(level, option, value)
