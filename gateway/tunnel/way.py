"""Where requests go: an app's route in use, or the portal.

Owns: what is the same for every request on it: its pool, the app's credential, what is told of its use. Refuses to know
clients.
"""

import asyncio
import logging
from typing import TYPE_CHECKING

from gateway.tunnel.answers import Rules
from gateway.tunnel.options import Stats, TunnelOptions
from gateway.tunnel.pool import Pool
from gateway.tunnel.prefix import HEADER, stripped
from state.records.models import Endpoint, Route

if TYPE_CHECKING:
    from gateway.tunnel.exchange import Exchange

log = logging.getLogger("towpath.tunnel")


class Way:
    """`route` None: the portal."""

    __slots__ = (
        "credential",
        "cut",
        "exchanges",
        "loop",
        "name",
        "options",
        "pool",
        "route",
        "rules",
        "slashes",
        "stats",
        "told",
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
        exchanges: "set[Exchange]",
    ) -> None:
        """`rules` say which fields of a response cross; `exchanges` is the tunnel's set of those that are open."""
        self.name = name
        self.route = route
        self.options = options
        self.stats = stats
        self.rules = rules
        self.exchanges = exchanges
        self.loop = asyncio.get_running_loop()
        credential = route.credential.encode("latin-1") if route is not None else b""
        if b"\r" in credential or b"\n" in credential or b"\0" in credential:
            raise ValueError("a route's credential has a line break")
        self.credential = b"Authorization: " + credential + b"\r\n" if credential else b""
        self.slashes = route.prefix.count("/") if route is not None else 0
        # An app that knows no base path: how many slashes its prefix has, and what it is told of it.
        self.cut = route.prefix.count("/") if route is not None and route.strip else 0
        self.told = b""
        if route is not None and route.strip:
            self.told = HEADER + b": " + route.prefix.rstrip("/").encode("ascii") + b"\r\n"
        self.pool = Pool(endpoint, rules, options)

    def target(self, target: bytes) -> bytes:
        """A request's target (path and query) as the app gets it."""
        return stripped(target, self.cut) if self.cut else target

    def active(self) -> None:
        """Note that it is used."""
        if self.route is not None:
            self.options.on_activity(self.route)

    def ended(self, exchange: "Exchange") -> None:
        """An exchange is over."""
        self.exchanges.discard(exchange)

    def log_truncated(self, error: Exception) -> None:
        """A response that began could not be ended: the client's connection was cut."""
        log.info("%s: the response ended early: %r", self.name, error)
