"""Determines the client address of a request, for records and limits. Pure.

The addresses that apps receive come from `gateway.tunnel.forwarded`.
"""

from ipaddress import ip_network
from typing import Final

from gateway.tunnel.forwarded import node_address, trusted
from gateway.tunnel.options import Network
from state.config.tables import GatewayConfig

_CHAIN_MAX: Final = 20


def proxy_networks(config: GatewayConfig) -> tuple[Network, ...]:
    """Return the networks of `[gateway] trusted_proxies`."""
    return tuple(ip_network(entry, strict=False) for entry in config.trusted_proxies)


def client_address(peer: str, fields: list[tuple[bytes, bytes]], networks: tuple[Network, ...]) -> str:
    """Return the last address in X-Forwarded-For that is not a trusted proxy's; otherwise the peer's.

    The client controls the left part of that header. Trusted proxies append on the right.
    """
    if not trusted(peer, networks):
        return peer
    chain = b",".join(value for name, value in fields if name == b"x-forwarded-for").split(b",")
    nearest = peer
    for raw in reversed(chain[-_CHAIN_MAX:]):
        address = node_address(raw.decode("latin-1"))
        if not address:
            break  # entries to the left of an invalid one are not trusted
        nearest = address
        if not trusted(nearest, networks):
            break
    return nearest
