"""Opens a connection to the hub by which the hub reaches the app: HTTP, then a WebSocket. Blocks.

If the job's environment names an HTTP proxy for the hub's address, the connection goes through it.
"""

import os

from batch.starter.hub_client import connect, split_url
from batch.starter.proxy_head import ProxyRequest, upstream_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import Any, Mapping

    from batch.starter.proxy_head import Upstream

MAX_HEAD = 16384
REQUEST = (
    "GET /%s HTTP/1.1\r\nHost: %s\r\nAuthorization: token %s\r\nTowpath-Server: %s/%s\r\nTowpath-Attempt: %s\r\n"
    "User-Agent: towpath-starter\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n"
)
ENDED = ("404", "409")  # statuses after which the hub will hardly accept a connection soon


class RefusedError(Exception):
    """The hub, or something in front of it, does not open the WebSocket. `status`: of its response."""

    def __init__(self, status: str) -> None:
        Exception.__init__(self, "the answer to the WebSocket handshake was %s" % (status or "no HTTP"))
        self.status = status


def hub_proxy(url: str, environment: "Mapping[str, str]") -> "Upstream | None":
    """Return the proxy of the node for this URL of the hub. Plain HTTP stays on this machine, and needs none."""
    secure, host, port, _, _ = split_url(url)
    if not secure:
        return None
    return upstream_for(ProxyRequest(host, port, True, b"", b""), environment)


def upgrade(url: str, spec: "dict[str, Any]") -> "tuple[_socket.socket, bytes]":
    """Return an open WebSocket and what has arrived behind the handshake. Raises OSError, ValueError, RefusedError."""
    import base64

    secure, host, port, place, path = split_url(url)
    key = base64.b64encode(os.urandom(16)).decode("ascii")
    proxy = hub_proxy(url, spec["environment"])
    sock = connect(secure, host, port, spec["passport"]["authority"], proxy)
    try:
        names = (spec["user"], spec["server"], spec["attempt"])
        sock.sendall((REQUEST % (path, place, spec["report_token"], *names, key)).encode("ascii"))
        got = b""
        while b"\r\n\r\n" not in got:
            part = sock.recv(4096)
            got += part
            if not part or len(got) > MAX_HEAD:
                raise RefusedError("")
        head, _, rest = got.partition(b"\r\n\r\n")
        parts = head.split(None, 2)
        status = parts[1].decode("ascii", "replace") if len(parts) > 1 and parts[0][:5] == b"HTTP/" else ""
        if status != "101":
            raise RefusedError(status)
        return sock, rest
    except BaseException:
        sock.close()
        raise
