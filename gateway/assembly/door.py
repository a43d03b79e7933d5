"""Creates the door of one worker, and its response to requests while the portal does not answer."""

from collections.abc import Callable
from urllib.parse import urlsplit

from gateway.assembly.public_side import PublicSide
from gateway.assembly.reverse import uses_reverse
from gateway.auth.cookies import CookieJar
from gateway.auth.credentials import Brought
from gateway.door.activity import ConnectionAudit, ForeignVisits
from gateway.door.callers import Callers
from gateway.door.connections import Connections
from gateway.door.door import App
from gateway.door.edge_check import EdgeCheck
from gateway.door.hosts import Hosts
from gateway.door.late_routes import LateRoutes
from gateway.door.portal_handover import Handover
from gateway.door.proof import ProofReader
from gateway.door.responses import PortalAnswers
from gateway.door.reverse_dials import ReverseDials
from gateway.door.server_access import ServerAccess
from gateway.door.services import ServiceRoutes
from gateway.edge.contract import PATH as EDGE_CHECK_PATH
from gateway.oauth.hub_apps import HubApps
from gateway.tunnel import Tunnel, UpstreamError
from gateway.ways_in.reverse.way_in import ReverseWayIn
from gateway.wire import Request
from state.config.origins import Origins
from state.config.tables import Config
from state.mirror.mirror import Mirror
from state.plugins.authenticators import without_password
from state.records.connect import CONNECT_PATH, DEVICE_PATH
from state.rights.roles import Roles
from state.store.all import Store

LOOPBACK_NAMES = frozenset({b"localhost", b"127.0.0.1", b"[::1]"})


def refusal(answers: PortalAnswers) -> Callable[[Request, UpstreamError], None]:
    """Return the response to requests while the portal does not answer."""

    def refuse(request: Request, error: UpstreamError) -> None:
        page = Brought(request.head.fields).wants_page
        request.respond(*answers.refuse(503, f"The hub's pages do not answer just now. {error}", page=page))

    return refuse


def door_of(
    config: Config,
    store: Store,
    mirror: Mirror,
    *,
    public: PublicSide,
    tunnel: Tunnel,
    reverse: ReverseWayIn,
    handover: Handover,
    answers: PortalAnswers,
    jar: CookieJar,
    hub_apps: HubApps,
    roles: Roles,
) -> App:
    """Create the door: it decides where each request goes."""
    base_path = config.gateway.base_path
    user_domain = config.gateway.user_domain
    hosts = Hosts(Origins(config.gateway), base_path=base_path, mark=jar.mark) if user_domain else None
    return App(
        mirror=mirror,
        tunnel=tunnel,
        portal=handover,
        edge_check=EdgeCheck(
            prefix=f"{base_path}{EDGE_CHECK_PATH}",
            scheme=public.scheme,
            public=public.address,
            knows=store.edge_reports.knows,
            address=public.client,
            trusted=public.trusts,
            nothing_here=lambda request: handover.handle(request, None),
        ),
        reverse_dials=ReverseDials(
            base_path=base_path,
            find=store.servers.get,
            allows=lambda server: uses_reverse(config, server),
            way_in=reverse,
        ),
        answers=answers,
        proofs=ProofReader(
            jar, hosts, scheme=public.scheme, public=public.address, allowed_hosts=allowed_hosts(config)
        ),
        callers=Callers(mirror, store.imported.claim),
        access=ServerAccess(mirror, LateRoutes(store, base_path), ForeignVisits(store, public.client)),
        connections=Connections(
            f"{base_path}{CONNECT_PATH}",
            mirror,
            LateRoutes(store, base_path),
            ConnectionAudit(store, public.client),
        ),
        hub_apps=hub_apps,
        services=ServiceRoutes(roles.services.values(), base_path),
        address=public.client,
        hosts=hosts,
        base_path=base_path,
        unasked=(f"{base_path}hub/backchannel-logout/",),
        programs=(f"{base_path}{DEVICE_PATH}",),
        cors_origins=[origin for profile in config.profile for origin in profile.cors_origins],
    )


def allowed_hosts(config: Config) -> frozenset[bytes] | None:
    """Return the allowed host names; None: all.

    If no password is needed, another site must not reach the hub through its own name that it resolves to
    this machine (DNS rebinding).
    """
    door = config.gateway
    open_to_all = config.auth is None or without_password(config)
    if not open_to_all or (config.auth is None and door.public_url):
        return None
    own = {door.host, door.report_host, *(urlsplit(url).hostname or "" for url in (door.public_url, door.internal_url))}
    return LOOPBACK_NAMES | {name.lower().encode() for name in own if name}
