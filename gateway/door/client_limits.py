"""The limits of the configuration on one client's use of a listener."""

from collections.abc import Callable

from gateway.door.client_address import proxy_networks
from gateway.tunnel.forwarded import trusted
from gateway.wire import ConnectionLimits
from state.config.tables import GatewayConfig


def limits_of(config: GatewayConfig) -> ConnectionLimits:
    """Return the limits of each client connection."""
    return ConnectionLimits(
        body_time=config.progress_timeout,
        write_time=config.progress_timeout,
        per_address=config.connections_per_address,
    )


def uncounted(config: GatewayConfig) -> Callable[[str], bool]:
    """Return a function that recognizes trusted proxies, whose connections carry requests of many clients."""
    networks = proxy_networks(config)
    return lambda address: trusted(address, networks)
