"""Where requests go: an app's route in use, or the portal.

Owns what is the same for every request there: the connections, the app's credential, and what is noted of its use.
Does not know about clients.
"""

import asyncio
import logging
from typing import Final

from gateway.tunnel.answers import Rules
from gateway.tunnel.cors import AllowedOrigins
from gateway.tunnel.errors import UpstreamError
from gateway.tunnel.options import Caller, Stats, TunnelOptions
from gateway.tunnel.pool import Pool
from gateway.tunnel.prefix import HEADER, stripped
from gateway.tunnel.query import without_token
from gateway.tunnel.quota import Quota
from state.names import USER_NAME, server_key
from state.records.models import Endpoint, Route

_HOSTS_MAX: Final = 32

log = logging.getLogger("towpath.tunnel")


class Way:
    """`route` None: the portal."""

    __slots__ = (
        "cors",
        "credential",
        "cut",
        "endpoint",
        "hosts",
        "loop",
        "name",
        "options",
        "pool",
        "prefix_line",
        "route",
        "rules",
        "signs_in",
        "slashes",
        "stats",
        "websockets",
    )

    def __init__(
        self,
        endpoint: Endpoint,
        rules: Rules,
        *,
        name: str,
        route: Route | None,
        options: TunnelOptions,
        stats: Stats,
        size: int,
        hosts: set[bytes] | None = None,
    ) -> None:
        """`rules`: which fields of a response cross. `size`: most connections to the endpoint.

        `hosts`: under which hosts the app was asked (see `note_host`). The rules may use them.
        """
        self.hosts = set() if hosts is None else hosts
        self.endpoint = endpoint
        self.name = name
        self.route = route
        self.options = options
        self.stats = stats
        self.rules = rules
        self.loop = asyncio.get_running_loop()
        credential = route.credential.encode("latin-1") if route is not None else b""
        if b"\r" in credential or b"\n" in credential or b"\0" in credential:
            raise ValueError("a route's credential has a line break")
        self.credential = b"Authorization: " + credential + b"\r\n" if credential else b""
        # Users sign in to the app through us, so that a token in a URL means nothing to it.
        self.signs_in = route is not None and bool(route.credential or route.hub_app)
        self.cors = AllowedOrigins(route.cors_origins if route is not None else ())
        self.slashes = route.prefix.count("/") if route is not None else 0
        # An app that knows no base path: how many slashes its prefix has, and what it is told of it.
        self.cut = route.prefix.count("/") if route is not None and route.strip else 0
        self.prefix_line = b""
        if route is not None and route.strip:
            self.prefix_line = HEADER + b": " + route.prefix.rstrip("/").encode("ascii") + b"\r\n"
        self.pool = Pool(endpoint, rules, options, size=size)
        self.websockets = Quota(most=options.websockets_per_app, per_client=options.websockets_per_client)

    def target(self, target: bytes, *, by_token: bool) -> bytes:
        """Return a request's target (path and query) as the app gets it. `by_token`: a token identifies the caller."""
        if b"?" in target and (self.signs_in or (by_token and self.route is not None and self.route.user)):
            target = without_token(target)
        return stripped(target, self.cut) if self.cut else target

    def note_host(self, host: bytes) -> None:
        """Note that the app is asked under this host: an absolute URL to it is one of the app's own."""
        host = host.lower()
        if host not in self.hosts and len(self.hosts) < _HOSTS_MAX:
            self.hosts.add(host)
            self.pool.forget_heads()

    def names(self, caller: Caller) -> bytes:
        """Return the line that tells the app, which trusts its credential, the user who is there."""
        return b"X-Forwarded-User: %s\r\n" % caller.user.encode("ascii") if USER_NAME.fullmatch(caller.user) else b""

    def active(self) -> None:
        """Note that it is used."""
        if self.route is not None:
            self.options.on_activity(self.route)

    def log_truncated(self, error: Exception) -> None:
        """Note that a response could not be completed: the client's connection was closed."""
        log.info("A response ended early. %s error=%r", self.label, error)

    def log_refused(self, error: UpstreamError) -> None:
        """Note that the app gave no answer that can be used."""
        log.info("An app did not answer. %s error=%s detail=%s", self.label, error, error.detail or "-")

    @property
    def label(self) -> str:
        """Where it leads, for a log line: the server, its attempt and its job."""
        route = self.route
        if route is None or not route.user:
            return f"path={self.name}"
        return f"server={server_key(route.user, route.name)} attempt={route.attempt} job={route.job or '-'}"
