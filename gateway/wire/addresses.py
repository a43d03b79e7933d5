"""Which addresses count as one client, where something is limited by address. Pure."""

from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network

_IPV6_PREFIX = 64


@lru_cache(maxsize=4096)
def client_key(address: str) -> str:
    """Return what an address is counted by: itself, or its /64 for IPv6, which a site gives to each of its hosts."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ip_network((int(parsed), _IPV6_PREFIX), strict=False))
