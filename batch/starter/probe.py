"""Queries to the app over its own socket or port."""

import _socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TIMEOUT = 5.0
MAX_ANSWER = 1024 * 1024
REQUEST = "GET %s HTTP/1.1\r\nHost: localhost\r\nUser-Agent: towpath-starter\r\nConnection: close\r\n\r\n"


def connect_to_app(endpoint: "dict[str, Any]") -> "_socket.socket":
    """Return a connection to the app, with a time-out. Raises OSError."""
    if endpoint["kind"] == "unix":
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        address: "str | tuple[str, int]" = endpoint["path"]
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
    """Return whether an HTTP server answers there, with any status."""
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


def get(endpoint: "dict[str, Any]", path: str, token: str) -> bytes:
    """Return the body of the response to a GET with Jupyter's token. Raises OSError and ValueError."""
    sock = connect_to_app(endpoint)
    try:
        head = REQUEST[:-2] % path + "Authorization: token %s\r\n\r\n" % token
        sock.sendall(head.encode("ascii"))
        got = b""
        while len(got) < MAX_ANSWER:
            part = sock.recv(65536)
            if not part:
                break
            got += part
    finally:
        sock.close()
    head_bytes, _, body = got.partition(b"\r\n\r\n")
    if head_bytes.split(None, 2)[1:2] != [b"200"]:
        raise ValueError("the app answered otherwise")
    return body
