"""What the gateway knows of the way to it."""

from urllib.parse import urlsplit

from gateway.door.client_address import client_address, proxy_networks
from gateway.tunnel.forwarded import trusted
from gateway.tunnel.public_address import PublicAddress
from gateway.wire import Request
from state.config.tables import GatewayConfig


class PublicSide:
    """What the gateway knows of the way to it: its public address, and the proxies before it."""

    def __init__(self, config: GatewayConfig) -> None:
        self.scheme = urlsplit(config.public_url).scheme or "http"
        self.address = PublicAddress(config.public_url, config.user_domain)
        self.proxies = proxy_networks(config)

    def client(self, request: Request) -> str:
        """Return a request's client address."""
        return client_address(request.client.peer, request.head.fields, self.proxies)

    def trusts(self, peer: str) -> bool:
        """Return whether a peer is a trusted proxy."""
        return trusted(peer, self.proxies)
