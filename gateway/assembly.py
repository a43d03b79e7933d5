"""One worker's parts, put together: store, mirror, tunnel, portal, app.

Owns: who is handed what. Refuses to decide anything about a request.
"""

import getpass
import ipaddress
import time
from importlib.metadata import version
from typing import cast
from urllib.parse import urlsplit

from gateway.answers import PortalAnswers
from gateway.app import App, Asgi
from gateway.auth.cookies import PLAIN_NAME, CookieJar
from gateway.auth.local import LocalAuth, local_user
from gateway.revocation import Revocation
from gateway.tunnel import Tunnel, TunnelOptions
from gateway.tunnel.identity import GatewayIdentity
from portal.app import Services, create_portal
from portal.errors import ErrorPages
from state import names
from state.config import AuthConfig
from state.mirror import Mirror
from state.records import Route
from state.settings import Settings
from state.store.all import Store

LOOPBACK_NAMES = frozenset({b"localhost", b"127.0.0.1", b"[::1]"})


class Gateway:
    """Everything that one worker holds open."""

    def __init__(self, store: Store, mirror: Mirror, tunnel: Tunnel, app: App) -> None:
        self.app = app
        self._store = store
        self._mirror = mirror
        self._tunnel = tunnel

    @classmethod
    async def open(cls, settings: Settings) -> "Gateway":
        """Connect, mirror, wire. Raises StateUnavailableError when the store does not answer."""
        config = settings.config
        door = config.gateway
        store = await Store.open(settings.redis_url)
        auth = config.auth or AuthConfig()
        mirror = Mirror(store, grace=door.outage_grace, session_lifetime=auth.session_lifetime)
        public = urlsplit(door.public_url)
        scheme = public.scheme or "http"
        jar = CookieJar(secure=scheme == "https", base_path=door.base_path)

        def on_activity(route: Route) -> None:
            mirror.note_activity(route.user, route.name)

        tunnel = Tunnel(
            TunnelOptions(
                public_scheme=public.scheme,
                trusted_proxies=tuple(ipaddress.ip_network(entry, strict=False) for entry in door.trusted_proxies),
                hidden_cookies=frozenset({PLAIN_NAME.encode()}),
                message_limit=door.message_limit,
                on_activity=on_activity,
                identity=GatewayIdentity(settings.data_dir / "tls"),
            )
        )

        mirror.on_revoked(Revocation(mirror, tunnel))
        mirror.on_route_change(lambda prefix, _route: tunnel.drop_route(prefix))
        release = version("towpath")
        services = Services(
            config=config,
            store=store,
            mirror=mirror,
            clock=time.time,
            version=release,
            data_dir=settings.data_dir,
            auth=LocalAuth(store, jar, lifetime=auth.session_lifetime, user=local_user(getpass.getuser())),
        )

        async def find(user: str, segment: str) -> Route | None:
            for name in (segment, "") if segment else ("",):
                route = await store.feed.route(names.server_path(door.base_path, user, name))
                if route is not None:
                    return route
            return None

        await mirror.start()
        app = App(
            mirror=mirror,
            tunnel=tunnel,
            portal=cast("Asgi", create_portal(services)),
            answers=PortalAnswers(ErrorPages(config, release, time.time), store),
            jar=jar,
            find=find,
            base_path=door.base_path,
            scheme=scheme,
            allowed_hosts=LOOPBACK_NAMES if config.auth is None and not door.public_url else None,
        )
        return cls(store, mirror, tunnel, app)

    async def drain(self, seconds: float) -> None:
        """Close WebSockets with 1012 and let requests finish, for at most `seconds`."""
        await self._tunnel.drain(seconds)

    async def close(self) -> None:
        """Write what is noted, and close every connection."""
        await self._mirror.stop()
        await self._store.close()
