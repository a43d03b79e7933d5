"""Asking the app over its own socket or port."""

import _socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TIMEOUT = 5.0
REQUEST = "GET %s HTTP/1.1\r\nHost: localhost\r\nUser-Agent: towpath-starter\r\nConnection: close\r\n\r\n"


def connect_to_app(endpoint: "dict[str, Any]") -> "_socket.socket":
    """A connection to the app, with a time-out. Raises OSError."""
    if endpoint["kind"] == "unix":
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        address: "Any" = endpoint["path"]
    else:
        sock = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
        address = (endpoint["host"], endpoint["port"])
    try:
        sock.settimeout(TIMEOUT)
        sock.connect(address)
        return sock
    except OSError:
        sock.close()
        raise


def answers(endpoint: "dict[str, Any]", base_path: str) -> bool:
    """Whether an HTTP server answers there, with any status."""
    try:
        sock = connect_to_app(endpoint)
    except OSError:
        return False
    try:
        sock.sendall((REQUEST % base_path).encode("ascii"))
        got = b""
        while len(got) < 5:
            part = sock.recv(1024)
            if not part:
                return False
            got += part
        return got[:5] == b"HTTP/"
    except OSError:
        return False
    finally:
        sock.close()
