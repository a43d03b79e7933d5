"""The socket behind an ASGI connection: found, duplicated, or cut.

Owns: the search. A TCP connection is known by its two addresses; the process's descriptors are asked for theirs until
exactly one has both. Refuses to know what the bytes mean. Why this is needed and what it relies on: decision 0002.
"""

import contextlib
import os
import socket
import struct

from gateway.tunnel.options import Scope

_WILDCARDS = ("0.0.0.0", "::")
_FAMILIES = (socket.AF_INET, socket.AF_INET6)


class TakeoverError(Exception):
    """The connection's descriptor cannot be told: none, or more than one, has its addresses."""


def _find(scope: Scope) -> socket.socket:
    client = (scope["client"][0], int(scope["client"][1]))
    server = (scope["server"][0], int(scope["server"][1]))
    found: list[socket.socket] = []
    for entry in os.listdir("/proc/self/fd"):
        sock = _duplicate_if(int(entry), client, server)
        if sock is not None:
            found.append(sock)
    if len(found) == 1:
        return found[0]
    for sock in found:
        sock.close()
    raise TakeoverError(f"{len(found)} descriptors have the addresses of the connection from {client}")


def _duplicate_if(number: int, client: tuple[str, int], server: tuple[str, int]) -> socket.socket | None:
    """A duplicate of descriptor `number` when it is the connection between the two addresses."""
    try:
        # Only borrowed: `detach` below. A family given spares the constructor's own system calls.
        borrowed = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=number)
    except OSError:
        return None
    try:
        peer = borrowed.getpeername()
        if not isinstance(peer, tuple) or not _same(peer, client):
            return None
        # The number may have been reused by another thread meanwhile: the duplicate is what is asked again.
        own = socket.socket(fileno=os.dup(number))
    except OSError:
        return None
    finally:
        borrowed.detach()
    with contextlib.suppress(OSError):
        if own.family in _FAMILIES and _same(own.getpeername(), client):
            local = own.getsockname()
            if local[1] == server[1] and (server[0] in _WILDCARDS or _same(local, server)):
                return own
    own.close()
    return None


def _same(address: tuple[object, ...], wanted: tuple[str, int]) -> bool:
    return address[1] == wanted[1] and (address[0] == wanted[0] or address[0] == f"::ffff:{wanted[0]}")


def take(scope: Scope) -> socket.socket:
    """A non-blocking duplicate of the connection's socket. Raises TakeoverError."""
    sock = _find(scope)
    sock.setblocking(False)
    return sock


def cut(scope: Scope) -> None:
    """End the client's connection where it stands, so that a response which is not whole does not look whole."""
    try:
        sock = _find(scope)
    except (TakeoverError, OSError):
        return
    with sock, contextlib.suppress(OSError):
        if scope["http_version"] == "1":
            # HTTP/1.0 ends a body by closing: only a reset tells an end from a break.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            sock.shutdown(socket.SHUT_RDWR)
