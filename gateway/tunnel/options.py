"""The tunnel's options, callers and counters.

Owns limits and time-outs with their defaults, `Caller`, `Stats`. Does not know about the configuration file:
the worker sets these values.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

from gateway.tunnel.public_address import PublicAddress
from gateway.ways_in.contract import WaysIn
from gateway.ways_in.sockets import TcpWayIn, UnixWayIn
from state.records.models import Route

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a request: the user's name or the service's key, and the credential.

    `digest`: of the ticket (`by_cookie`) or of the token. What the app is told of them, where it is one that asks the
    hub who they are: `authorization` is a header's value, `cookie` a cookie as `name=value`. Empty: nothing.
    """

    user: str
    digest: str
    by_cookie: bool
    authorization: bytes = b""
    cookie: bytes = b""
    source: str = ""
    """Whose connections and WebSockets these are, where they are counted. Empty: the user's."""


def _ignore(_route: Route) -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelOptions:
    """Times are in seconds, sizes in bytes.

    `hidden_cookies`: names of the hub's cookies; each is hidden with `__Host-` and `__Secure-` in front as well.
    `hidden_headers`: of requests, in lowercase: what passes between an edge proxy and the hub, and is not for apps.
    `on_activity` is called when a request begins, and at most once a second for each open stream or WebSocket that
    moved data.
    """

    public: PublicAddress = field(default_factory=PublicAddress)
    withheld: frozenset[bytes] = frozenset()
    """Names of response fields, in lowercase, that are dropped from apps' responses."""
    trusted_proxies: tuple[Network, ...] = ()
    hidden_cookies: frozenset[bytes] = frozenset()
    hidden_headers: frozenset[bytes] = frozenset()
    on_activity: Callable[[Route], None] = field(default=_ignore)
    ways_in: WaysIn = field(default_factory=lambda: {"unix": UnixWayIn(), "tcp": TcpWayIn()})
    """How streams are opened, by the kind of endpoint. Others than these are for apps on other machines."""
    connect_timeout: float = 10.0
    head_timeout: float = 3600.0
    """From the request being sent to the response's head; uploads have this long after the last byte sent."""
    idle_timeout: float = 30.0
    """How long an unused upstream connection is kept."""
    per_app: int = 512
    """Most connections to one app, in use and idle, WebSockets not counted."""
    per_client: int = 128
    """Most of them that are in use for one client: a user, a service, or an address without sign-in."""
    pool_wait: float = 10.0
    """How long a request waits for a connection where there may be no more; after that 503 or 429."""
    websockets_per_app: int = 2048
    websockets_per_client: int = 256
    """Of one app's; more are refused (503)."""
    head_limit: int = 128 * 1024
    """Largest head of a response."""
    buffer_limit: int = 256 * 1024
    """Bytes that wait in memory for a slow reader, per direction, before reading stops."""
    body_buffer: int = 64 * 1024
    """A request's body of at most this size is read whole and sent with its head."""
    app_read_timeout: float = 600.0
    """How long an app may read nothing of a request that waits for it."""
    write_timeout: float = 60.0
    """How long either side of a WebSocket may read nothing of what waits for it."""
    message_limit: int = 128 * 1024 * 1024
    """Largest WebSocket message, all fragments together, either way; more closes with 1009."""
    ping_interval: float = 30.0
    """After this long without a sign of life a WebSocket's peer is pinged; after as long again, dropped."""
    close_wait: float = 2.0
    """How long the peers of a WebSocket have to answer our close frame."""
    handshake_timeout: float = 60.0
    """How long an app has to answer a WebSocket's opening handshake."""


class Stats:
    """Counters of one worker since its start; `websockets` is a gauge."""

    __slots__ = (
        "bytes_down",
        "bytes_up",
        "requests",
        "upstream_errors",
        "websockets",
        "websockets_total",
    )

    def __init__(self) -> None:
        self.requests = 0
        self.bytes_up = 0
        self.bytes_down = 0
        self.websockets = 0
        self.websockets_total = 0
        self.upstream_errors = 0
