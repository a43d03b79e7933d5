"""Where a request comes from, for sign-in: the client's own address, as far as it can be believed.

Owns: which entry of X-Forwarded-For counts, and how much of an address stands for one stranger.
Refuses to know what follows from it.

A client writes what it likes into that header; each proxy appends whom it heard it from. So it is read from its end:
the first entry that is no trusted proxy's is the client, and all before it is hearsay. `Forwarded` is not read: a proxy
that adds one of the two passes on the other as the client sent it.
"""

from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

from gateway.tunnel.forwarded import trusted
from gateway.tunnel.options import Network

HEADER: Final = b"x-forwarded-for"
V6_PREFIX: Final = 64
"""What one subscriber gets at least (RFC 6177): whoever has one address of it has all."""


def client_address(peer: str, headers: Iterable[tuple[bytes, bytes]], proxies: tuple[Network, ...]) -> str:
    """The client's address; the last known one on the way where an entry cannot be read."""
    if not trusted(peer, proxies):
        return peer
    chain = [part.strip() for name, value in headers if name == HEADER for part in value.decode("latin-1").split(",")]
    here = peer
    for entry in reversed(chain):
        try:
            here = str(ip_address(entry))
        except ValueError:
            return here
        if not trusted(here, proxies):
            return here
    return here


def stranger(address: str) -> str:
    """What tries from this address are counted under: an IPv4 address, or the /64 of an IPv6 one."""
    try:
        known = ip_address(address)
    except ValueError:
        return address
    if isinstance(known, IPv6Address):
        if known.ipv4_mapped is not None:
            return str(known.ipv4_mapped)
        return str(ip_network((int(known), V6_PREFIX), strict=False))
    return str(known)
