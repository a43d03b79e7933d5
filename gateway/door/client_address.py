"""Which address a request came from, for records and limits. Pure.

What an app is told is another matter: `gateway.tunnel.forwarded`.
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
    """The nearest address that is no trusted proxy's, read from the right of X-Forwarded-For; else the peer's.

    Whoever asks can write anything at the left of that header; what a trusted proxy has appended is at the right.
    """
    if not trusted(peer, networks):
        return peer
    chain = b",".join(value for name, value in fields if name == b"x-forwarded-for").split(b",")
    nearest = peer
    for raw in reversed(chain[-_CHAIN_MAX:]):
        address = node_address(raw.decode("latin-1"))
        if not address:
            break  # nobody vouches for what stands left of something that cannot be read
        nearest = address
        if not trusted(nearest, networks):
            break
    return nearest
