"""How much of an address stands for one stranger.

Owns: what failed sign-ins are counted under. Refuses to know which address a request came from
(`gateway.door.client_address`).
"""

from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

V6_PREFIX: Final = 64
"""What one subscriber gets at least (RFC 6177): whoever has one address of it has all."""


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
