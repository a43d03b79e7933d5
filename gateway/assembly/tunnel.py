"""The options of a worker's tunnel."""

from typing import Final

from gateway.assembly.public_side import PublicSide
from gateway.auth.cookies import NAMES
from gateway.oauth.hub_apps import SESSION_ID
from gateway.tunnel import TunnelOptions
from gateway.ways_in.direct import DirectWayIn
from gateway.ways_in.identity import GatewayIdentity
from gateway.ways_in.reverse.way_in import ReverseWayIn
from gateway.ways_in.sockets import TcpWayIn, UnixWayIn
from gateway.ways_in.ssh.way_in import SshWayIn
from state.config.one_host import on_one_host
from state.config.tables import Config
from state.mirror.mirror import Mirror
from state.plugins import authenticators
from state.records.models import Route
from state.settings.loader import Settings
from state.store.all import Store

OPENER: Final = frozenset({b"cross-origin-opener-policy"})
"""With this field an app's page could keep control of a hub page that it opens (`portal.web.clicks`)."""


def tunnel_options(
    settings: Settings,
    store: Store,
    mirror: Mirror,
    public: PublicSide,
    *,
    identity: GatewayIdentity,
    reverse: ReverseWayIn,
) -> TunnelOptions:
    """Return what the tunnel hides from apps, its limits, and the ways in."""
    config = settings.config
    door = config.gateway

    def on_activity(route: Route) -> None:
        if route.user:  # a service has no owner and no activity
            mirror.note_activity(route.user, route.name)

    return TunnelOptions(
        public=public.address,
        trusted_proxies=public.proxies,
        hidden_cookies=frozenset({*(name.encode() for name in NAMES), SESSION_ID}),
        hidden_headers=hidden_headers(config),
        withheld=OPENER if on_one_host(config) else frozenset(),
        message_limit=door.message_limit,
        write_timeout=door.progress_timeout,
        per_app=door.connections_per_app,
        per_client=door.connections_per_client,
        websockets_per_app=door.websockets_per_app,
        websockets_per_client=door.websockets_per_client,
        on_activity=on_activity,
        ways_in={
            "unix": UnixWayIn(),
            "tcp": TcpWayIn(),
            "tls": DirectWayIn(identity),
            "reverse": reverse,
            "ssh-socket": SshWayIn(store.ssh_passes, settings.data_dir / "tls" / "gateway.pem"),
        },
    )


def hidden_headers(config: Config) -> frozenset[bytes]:
    """Return the headers that prove users, which no app receives."""
    if config.auth is None:
        return frozenset()
    return authenticators.hidden_headers(config.auth.provider)
