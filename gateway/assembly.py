"""Creates and connects the parts of one worker: store, mirror, tunnel, portal, door.

Owns this construction. Makes no decision about requests.
"""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import urlsplit

from gateway.auth.account import local_user
from gateway.auth.addresses import hub_url
from gateway.auth.cookies import NAMES, CookieJar, Strays, mark_of
from gateway.auth.credentials import Brought
from gateway.door.activity import ForeignVisits
from gateway.door.callers import Callers
from gateway.door.client_address import client_address, proxy_networks
from gateway.door.door import App
from gateway.door.edge_check import EdgeCheck
from gateway.door.hosts import Hosts
from gateway.door.portal_handover import Asgi, Handover
from gateway.door.portal_socket import PortalSocket
from gateway.door.proof import ProofReader
from gateway.door.responses import PortalAnswers
from gateway.door.revocation import Revocation
from gateway.door.server_access import ServerAccess
from gateway.door.services import ServiceRoutes
from gateway.edge.contract import PATH as EDGE_CHECK_PATH
from gateway.edge.watch import EdgeWatch
from gateway.oauth.hub_apps import SESSION_ID, HubApps
from gateway.oauth.provider import OAuthProvider
from gateway.oauth.registry import Registry
from gateway.tunnel import Tunnel, TunnelOptions, UpstreamError
from gateway.tunnel.forwarded import trusted
from gateway.tunnel.identity import GatewayIdentity
from gateway.tunnel.options import Network
from gateway.tunnel.public_address import PublicAddress
from gateway.wire import Request
from portal.app import Services, create_portal
from portal.refusals.pages import ErrorPages
from state import names
from state.account import account_name
from state.config.one_host import on_one_host
from state.config.origins import Origins
from state.config.tables import AuthConfig, Config
from state.mirror.health import HealthWatch
from state.mirror.mirror import Mirror
from state.records.models import Route
from state.records.readiness import is_ready
from state.rights.roles import Roles
from state.settings.loader import SUPERVISOR, Settings
from state.store.all import Store

if TYPE_CHECKING:
    from gateway.auth.local import LocalAuth
    from gateway.auth.shared import SharedAuth

OPENER: Final = frozenset({b"cross-origin-opener-policy"})
"""With this field an app's page could keep control of a hub page that it opens (`portal.web.clicks`)."""

LATE_TRIES = 20
LATE_SECONDS = 0.05
LOOPBACK_NAMES = frozenset({b"localhost", b"127.0.0.1", b"[::1]"})


class Finder:
    """Reads a route that the worker's mirror does not have yet from the store. Raises StateUnavailableError."""

    def __init__(self, store: Store, base_path: str) -> None:
        self._store = store
        self._base_path = base_path

    async def __call__(self, user: str, name: str) -> Route | None:
        """Return the route of a user's server."""
        tries = LATE_TRIES
        while True:
            route = await self._store.feed.route(names.server_path(self._base_path, user, name))
            tries -= 1
            if route is not None or not tries or not await self._ready(user, name):
                return route
            await asyncio.sleep(LATE_SECONDS)

    async def _ready(self, user: str, name: str) -> bool:
        """Return whether the record is ready, which it is shortly before its route exists."""
        server = await self._store.servers.get(user, name)
        return server is not None and is_ready(server)


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
        self._auth = auth

    @classmethod
    async def open(cls, settings: Settings) -> "Gateway":
        """Connect to the store and create all parts. Raises StateUnavailableError if the store does not answer."""
        config = settings.config
        door = config.gateway
        store = await Store.open(settings.redis_url)
        auth_config = config.auth or AuthConfig()
        lifetime = auth_config.session_lifetime
        roles = Roles.of(config)
        mirror = Mirror(
            store,
            grace=door.outage_grace,
            session_lifetime=lifetime,
            roles=roles,
            service_digests=settings.service_digests,
        )
        public = urlsplit(door.public_url)
        scheme = public.scheme or "http"
        public_address = PublicAddress(door.public_url, door.user_domain)
        jar = CookieJar(secure=scheme == "https", base_path=door.base_path, mark=mark_of(door))

        proxies = proxy_networks(door)

        def address(request: Request) -> str:
            return client_address(request.client.peer, request.head.fields, proxies)

        def on_activity(route: Route) -> None:
            if route.user:  # a service has no owner and no activity
                mirror.note_activity(route.user, route.name)

        tunnel = Tunnel(
            TunnelOptions(
                public=public_address,
                trusted_proxies=proxies,
                hidden_cookies=frozenset(
                    {
                        *(name.encode() for name in NAMES),
                        SESSION_ID,
                    }
                ),
                hidden_headers=_hidden_headers(config),
                withheld=OPENER if on_one_host(config) else frozenset(),
                message_limit=door.message_limit,
                write_timeout=door.progress_timeout,
                per_app=door.connections_per_app,
                per_client=door.connections_per_client,
                websockets_per_app=door.websockets_per_app,
                websockets_per_client=door.websockets_per_client,
                on_activity=on_activity,
                identity=GatewayIdentity(settings.data_dir / "tls"),
            )
        )

        mirror.on_revoked(Revocation(mirror, tunnel))
        hub_apps = HubApps(store, limit=config.limits.tokens_per_user)
        mirror.on_revoked(hub_apps.revoked)
        mirror.on_route_change(lambda prefix, _route: tunnel.drop_route(prefix))
        release = version("towpath")
        health = HealthWatch(store.health)
        auth = _auth(config, store, jar, proxies)
        services = Services(
            config=config,
            store=store,
            mirror=mirror,
            clock=time.time,
            version=release,
            data_dir=settings.data_dir,
            auth=auth,
            oauth=OAuthProvider(
                store,
                Registry(store, roles, settings.service_digests, config=door),
                lifetime=lifetime,
                limit=config.limits.tokens_per_user,
            ),
            shut_down=lambda: end_hub(settings.environment),
            health=health,
        )

        auth.start()
        answers = PortalAnswers(ErrorPages(config, release, time.time), store)

        def refuse(request: Request, error: UpstreamError) -> None:
            page = Brought(request.head.fields).wants_page
            request.respond(*answers.refuse(503, f"The hub's pages do not answer just now. {error}", page=page))

        portal_socket = PortalSocket(settings.data_dir)
        pages = create_portal(services)
        handover = Handover(cast("Asgi", pages), tunnel, portal_socket.path, refuse, address, strays=Strays(jar))
        await mirror.start()
        health.start()
        hosts = Hosts(Origins(door), base_path=door.base_path, mark=jar.mark) if door.user_domain else None
        app = App(
            mirror=mirror,
            tunnel=tunnel,
            portal=handover,
            edge_check=EdgeCheck(
                prefix=f"{door.base_path}{EDGE_CHECK_PATH}",
                scheme=scheme,
                public=public_address,
                knows=store.edge_reports.knows,
                address=address,
                trusted=lambda peer: trusted(peer, proxies),
                nothing_here=lambda request: handover.handle(request, None),
            ),
            answers=answers,
            proofs=ProofReader(jar, hosts, scheme=scheme, public=public_address, allowed_hosts=_hosts(config)),
            callers=Callers(mirror, store.imported.claim),
            access=ServerAccess(mirror, Finder(store, door.base_path), ForeignVisits(store, address)),
            hub_apps=hub_apps,
            services=ServiceRoutes(roles.services.values(), door.base_path),
            address=address,
            hosts=hosts,
            base_path=door.base_path,
            unasked=f"{door.base_path}hub/backchannel-logout/",
            cors_origins=[origin for profile in config.profile for origin in profile.cors_origins],
        )
        threading.Thread(target=pages.state.site.compile_templates, name="templates", daemon=True).start()
        return cls(
            store,
            mirror,
            health,
            tunnel,
            auth,
            app=app,
            portal=handover.asgi,
            portal_socket=portal_socket,
            edge_watch=EdgeWatch(store.edge_reports, config),
        )

    async def drain(self, seconds: float) -> None:
        """Close WebSockets with 1012 and let requests finish, for at most `seconds`."""
        await self._tunnel.drain(seconds)

    async def close(self) -> None:
        """Write pending activity, and close every connection."""
        self._portal_socket.close()
        self.edge_watch.stop()
        await self._auth.stop()
        await self._health.stop()
        await self._mirror.stop()
        await self._store.close()


def end_hub(environment: Mapping[str, str]) -> None:
    """Ask the supervisor that started this worker to end the hub; without one, end this process."""
    supervisor = environment.get(SUPERVISOR, "")
    ours = supervisor == str(os.getppid())
    os.kill(os.getppid() if ours else os.getpid(), signal.SIGTERM)


def _hidden_headers(config: Config) -> frozenset[bytes]:
    """Return the headers that prove users, which no app receives."""
    if config.auth is None:
        return frozenset()
    from gateway.auth.header import hidden  # noqa: PLC0415 - only hubs with [auth] need it

    return hidden(config.auth.provider)


def _auth(config: Config, store: Store, jar: CookieJar, proxies: tuple[Network, ...]) -> "SharedAuth | LocalAuth":
    """Create sign-in by [auth]; without it, for the single user of this machine."""
    limit = config.limits.sessions_per_user
    if config.auth is not None:
        from gateway.auth.shared import SharedAuth  # noqa: PLC0415 - each hub loads its own kind of sign-in

        return SharedAuth(store, jar, config.auth, hub_url=hub_url(config), proxies=proxies, limit=limit)
    user = local_user(account_name())
    from gateway.auth.local import LocalAuth  # noqa: PLC0415

    return LocalAuth(store, jar, lifetime=AuthConfig().session_lifetime, user=user, limit=limit)


def _hosts(config: Config) -> frozenset[bytes] | None:
    """Return the allowed host names; None: all.

    If no password is needed, another site must not reach the hub through its own name that it resolves to
    this machine (DNS rebinding).
    """
    door = config.gateway
    without_password = config.auth is None or any(provider.kind == "test" for provider in config.auth.provider)
    if not without_password or (config.auth is None and door.public_url):
        return None
    own = {door.host, door.report_host, *(urlsplit(url).hostname or "" for url in (door.public_url, door.internal_url))}
    return LOOPBACK_NAMES | {name.lower().encode() for name in own if name}
