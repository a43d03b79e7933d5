"""Creates and connects the parts of one worker: store, mirror, tunnel, portal, door.

Owns this construction. Makes no decision about requests.
"""

import os
import signal
import threading
import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, cast

from gateway.assembly.door import door_of, refusal
from gateway.assembly.public_side import PublicSide
from gateway.assembly.reverse import reverse_way_in
from gateway.assembly.sign_in import sign_in
from gateway.assembly.tunnel import tunnel_options
from gateway.auth.cookies import CookieJar, Strays, mark_of
from gateway.door.door import App
from gateway.door.portal_handover import Asgi, Handover
from gateway.door.portal_socket import PortalSocket
from gateway.door.responses import PortalAnswers
from gateway.door.revocation import Revocation
from gateway.edge.watch import EdgeWatch
from gateway.oauth.hub_apps import HubApps
from gateway.oauth.provider import OAuthProvider
from gateway.oauth.registry import Registry
from gateway.tunnel import Tunnel
from gateway.ways_in.identity import GatewayIdentity
from gateway.ways_in.reverse.way_in import ReverseWayIn
from portal.app import Services, create_portal
from portal.refusals.pages import ErrorPages
from state.config.tables import AuthConfig, Config
from state.mirror.health import HealthWatch
from state.mirror.mirror import Mirror
from state.records.connect import connect_prefix
from state.rights.roles import Roles
from state.settings.loader import SUPERVISOR, Settings
from state.store.all import Store

if TYPE_CHECKING:
    from gateway.auth.local import LocalAuth
    from gateway.auth.shared import SharedAuth


class Gateway:
    """All parts of one worker.

    `app` is the door's handler; `portal` is the ASGI app to be served on the unix socket at `portal_path`.
    """

    def __init__(
        self,
        store: Store,
        mirror: Mirror,
        health: HealthWatch,
        tunnel: Tunnel,
        auth: "SharedAuth | LocalAuth",
        *,
        reverse: ReverseWayIn,
        app: App,
        portal: Asgi,
        portal_socket: PortalSocket,
        edge_watch: EdgeWatch,
    ) -> None:
        self.app = app
        self.portal = portal
        self._portal_socket = portal_socket
        self.portal_path = portal_socket.path
        self.edge_watch = edge_watch
        self._store = store
        self._mirror = mirror
        self._health = health
        self._tunnel = tunnel
        self._reverse = reverse
        self._auth = auth

    @classmethod
    async def open(cls, settings: Settings) -> "Gateway":
        """Connect to the store and create all parts. Raises StateUnavailableError if the store does not answer."""
        config = settings.config
        store = await Store.open(settings.redis_url)
        roles = Roles.of(config)
        public = PublicSide(config.gateway)
        mirror = _mirror(settings, store, roles)
        identity = GatewayIdentity(settings.data_dir / "tls")
        portal_socket = PortalSocket(settings.data_dir)
        reverse = await reverse_way_in(settings, store, identity, socket=portal_socket.peers)
        tunnel = Tunnel(tunnel_options(settings, store, mirror, public, identity=identity, reverse=reverse))
        hub_apps = HubApps(store, limit=config.limits.tokens_per_user)
        mirror.on_revoked(Revocation(mirror, tunnel))
        mirror.on_revoked(hub_apps.revoked)
        mirror.on_route_change(lambda prefix, _route: tunnel.drop_route(prefix))
        mirror.on_route_change(reverse.route_changed)
        mirror.on_route_change(lambda prefix, _route: tunnel.drop_route(connect_prefix(prefix)))
        health = HealthWatch(store.health)
        jar = CookieJar(
            secure=public.scheme == "https", base_path=config.gateway.base_path, mark=mark_of(config.gateway)
        )
        auth = sign_in(config, store, jar, public.proxies)
        services = _services(settings, store, mirror, roles=roles, auth=auth, health=health)
        auth.start()
        answers = PortalAnswers(ErrorPages(config, services.version, time.time), store)
        pages = create_portal(services)
        handover = Handover(
            cast("Asgi", pages), tunnel, portal_socket.path, refusal(answers), public.client, strays=Strays(jar)
        )
        await mirror.start()
        health.start()
        app = door_of(
            config,
            store,
            mirror,
            public=public,
            tunnel=tunnel,
            reverse=reverse,
            handover=handover,
            answers=answers,
            jar=jar,
            hub_apps=hub_apps,
            roles=roles,
        )
        threading.Thread(target=pages.state.site.compile_templates, name="templates", daemon=True).start()
        return cls(
            store,
            mirror,
            health,
            tunnel,
            auth,
            reverse=reverse,
            app=app,
            portal=handover.asgi,
            portal_socket=portal_socket,
            edge_watch=EdgeWatch(store.edge_reports, config),
        )

    async def drain(self, seconds: float) -> None:
        """Close WebSockets with 1012 and let requests finish, for at most `seconds`."""
        await self._reverse.withdraw()
        await self._tunnel.drain(seconds)

    async def close(self) -> None:
        """Write pending activity, and close every connection."""
        self._portal_socket.close()
        self.edge_watch.stop()
        await self._auth.stop()
        await self._health.stop()
        await self._mirror.stop()
        await self._tunnel.close()
        await self._store.close()


def end_hub(environment: Mapping[str, str]) -> None:
    """Ask the supervisor that started this worker to end the hub; without one, end this process."""
    supervisor = environment.get(SUPERVISOR, "")
    ours = supervisor == str(os.getppid())
    os.kill(os.getppid() if ours else os.getpid(), signal.SIGTERM)


def _mirror(settings: Settings, store: Store, roles: Roles) -> Mirror:
    """Create the worker's mirror of the store. It is not started yet."""
    config = settings.config
    return Mirror(
        store,
        grace=config.gateway.outage_grace,
        session_lifetime=_session_lifetime(config),
        roles=roles,
        service_digests=settings.service_digests,
    )


def _session_lifetime(config: Config) -> int:
    """Return the lifetime of a session in seconds."""
    return (config.auth or AuthConfig()).session_lifetime


def _services(
    settings: Settings,
    store: Store,
    mirror: Mirror,
    *,
    roles: Roles,
    auth: "SharedAuth | LocalAuth",
    health: HealthWatch,
) -> Services:
    """Create what the portal uses."""
    config = settings.config
    registry = Registry(store, roles, settings.service_digests, config=config.gateway)
    limit = config.limits.tokens_per_user
    return Services(
        config=config,
        store=store,
        mirror=mirror,
        clock=time.time,
        version=version("towpath"),
        data_dir=settings.data_dir,
        auth=auth,
        oauth=OAuthProvider(store, registry, lifetime=_session_lifetime(config), limit=limit),
        shut_down=lambda: end_hub(settings.environment),
        health=health,
    )
