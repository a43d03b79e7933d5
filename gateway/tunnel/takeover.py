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


class TakeoverError(Exception):
    """The connection's descriptor cannot be told: none, or more than one, has its addresses."""


def _find(scope: Scope) -> socket.socket:
    """A duplicate of the connection's descriptor."""
    client = (scope["client"][0], int(scope["client"][1]))
    server = (scope["server"][0], int(scope["server"][1]))
    # First look, then duplicate: a duplicate made on the way could be found again under a number still to come.
    with os.scandir("/proc/self/fd") as entries:
        numbers = [int(entry.name) for entry in entries]
    numbers = [number for number in numbers if _connects(number, client, server)]
    if len(numbers) != 1:
        raise TakeoverError(f"{len(numbers)} descriptors have the addresses of the connection from {client}")
    duplicate = socket.socket(fileno=os.dup(numbers[0]))
    # The number may have been used anew by another thread meanwhile: the duplicate is what counts.
    if not _connects(duplicate.fileno(), client, server):
        duplicate.close()
        raise TakeoverError(f"the connection from {client} closed")
    return duplicate


def _connects(number: int, client: tuple[str, int], server: tuple[str, int]) -> bool:
    """Whether a descriptor is the connection between the two addresses; a server's wildcard fits any of its own."""
    try:
        # Only borrowed: `detach` below. A family given spares the constructor's own system calls; this one leaves room
        # for the addresses of both.
        borrowed = socket.socket(socket.AF_INET6, socket.SOCK_STREAM, 0, fileno=number)
    except OSError:
        return False
    try:
        if not _same(borrowed.getpeername(), client):
            return False
        own = borrowed.getsockname()
        return bool(own[1] == server[1]) and (server[0] in _WILDCARDS or _same(own, server))
    except OSError:
        return False
    finally:
        borrowed.detach()


def _same(address: object, wanted: tuple[str, int]) -> bool:
    # Unix sockets have a string or bytes here.
    if not isinstance(address, tuple):
        return False
    return bool(address[1] == wanted[1]) and address[0] in (wanted[0], f"::ffff:{wanted[0]}")


def take(scope: Scope) -> socket.socket:
    """A non-blocking duplicate of the connection's socket. Raises TakeoverError."""
    sock = _find(scope)
    sock.setblocking(False)  # noqa: FBT003 - the standard library's signature
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
