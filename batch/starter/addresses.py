"""The node's own address, on which the way in listens."""

import _socket
import errno
import os

from batch.starter.hub_client import ascii_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Sequence

EVERY_MACHINES = ("127.0.0.1", "127.0.1.1", "::1", "0.0.0.0", "::")
"""Addresses that each machine has for itself: nobody elsewhere reaches this node by them."""


def addresses_of(host: str) -> "list[str]":
    """The addresses of a name, IPv4 first; no link-local ones (they need an interface)."""
    try:
        found = [str(entry[4][0]) for entry in _socket.getaddrinfo(ascii_name(host), None, 0, _socket.SOCK_STREAM)]
    except (OSError, UnicodeError):
        return []
    return sorted((one for one in found if not one.startswith("fe80")), key=lambda one: ":" in one)


def source_towards(url: str) -> str:
    """The address from which this machine speaks to the hub; nothing is sent. `""`: there is no route."""
    host = url.partition("://")[2].partition("/")[0].rpartition("@")[2]
    host = host[: host.index("]")] if "]" in host else host.partition(":")[0]
    for address in addresses_of(host.strip("[]")):
        sock = _socket.socket(_socket.AF_INET6 if ":" in address else _socket.AF_INET, _socket.SOCK_DGRAM)
        try:
            sock.connect((address, 9))
            return str(sock.getsockname()[0])
        except OSError:
            continue
        finally:
            sock.close()
    return ""


class NoFreePortError(Exception):
    """All ports that a job may listen on are in use on this node."""


def listen_on(address: str, ports: "Sequence[int]" = ()) -> "_socket.socket":
    """A listening socket there, on one of the ports (first and last), or on one of the kernel's choice.

    Raises OSError where the address is not ours, and NoFreePortError. Where to begin in the range is left to chance, so
    that jobs that start together do not all try the same ports.
    """
    if not ports:
        return listen_at(address, 0)
    count = ports[1] - ports[0] + 1
    begin = int.from_bytes(os.urandom(4), "big")
    for step in range(count):
        try:
            return listen_at(address, ports[0] + (begin + step) % count)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    raise NoFreePortError


def listen_at(address: str, port: int) -> "_socket.socket":
    """A listening socket. Raises OSError."""
    sock = _socket.socket(_socket.AF_INET6 if ":" in address else _socket.AF_INET, _socket.SOCK_STREAM)
    try:
        if port:  # else connections of an earlier job that have just ended would keep the port from us
            sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        sock.listen(1024)
        sock.setblocking(False)
        return sock
    except OSError:
        sock.close()
        raise


def listen_on_node(configured: str, hub_urls: "Sequence[str]", ports: "Sequence[int]" = ()) -> "_socket.socket":
    """Listen on the address by which other machines know this node. See `listen_on` for the ports.

    That is the configured one, else one of the node's name; where that is an address which every machine has
    (Debian's 127.0.1.1), the one from which the node speaks to the hub.
    """
    if configured:
        return listen_on(configured, ports)
    known: "list[str]" = []
    for name in (os.environ.get("SLURMD_NODENAME"), os.uname().nodename):
        known += addresses_of(name) if name else []
    candidates = known + [source_towards(url) for url in hub_urls]
    for address in [one for one in candidates if one and one not in EVERY_MACHINES] + known:
        try:
            return listen_on(address, ports)
        except OSError:
            continue
    return listen_on("127.0.0.1", ports)
