"""The tunnel of one worker: what is open, to where, for whom.

Owns: the routes in use with their pools, the open exchanges and WebSockets, one timer for all of them, shutdown.
Refuses to know who may do what: the caller has decided before it calls.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable

from gateway.tunnel.cookies import Hidden
from gateway.tunnel.exchange import Exchange, Receive, Send
from gateway.tunnel.headers import RequestHead, RequestRules, own_authorization
from gateway.tunnel.options import Caller, Scope, Stats, TunnelOptions
from gateway.tunnel.pool import Pool
from gateway.tunnel.splice import Splice
from gateway.tunnel.websocket import carry
from state.records import Route

log = logging.getLogger("towpath.tunnel")

_TICK = 0.5
_RESTART = (1012, "The server restarts")
_SWEEP_EVERY = 10  # ticks


class Way:
    """A route in use: its pool, and what is the same for every request on it."""

    __slots__ = ("credential", "options", "pool", "prefix", "route", "stats")

    def __init__(self, route: Route, hidden: Hidden, options: TunnelOptions, stats: Stats) -> None:
        self.route = route
        self.options = options
        self.stats = stats
        self.prefix = route.prefix.encode("ascii")
        credential = route.credential.encode("latin-1")
        if b"\r" in credential or b"\n" in credential or b"\0" in credential:
            raise ValueError("a route's credential has a line break")
        self.credential = b"Authorization: " + credential + b"\r\n" if credential else b""
        self.pool = Pool(route.endpoint, self.prefix, hidden, options)

    def log_truncated(self, error: Exception) -> None:
        """A response that began could not be ended: the client's connection was cut."""
        log.info("%s: the response ended early: %r", self.route.prefix, error)


class Tunnel:
    """Carries requests and WebSockets to apps. Used from one event loop."""

    def __init__(self, options: TunnelOptions) -> None:
        self.options = options
        self.stats = Stats()
        self._hidden = Hidden(options.hidden_cookies)
        self._rules = RequestRules(self._hidden, options.trusted_proxies, options.public_scheme)
        self._ways: dict[str, Way] = {}
        self._exchanges: set[Exchange] = set()
        self._splices: set[Splice] = set()
        self._draining = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ticks = 0
        self._empty: asyncio.Event | None = None

    async def http(self, scope: Scope, receive: Receive, send: Send, route: Route, *, caller: Caller) -> None:
        """Carry one HTTP request to the route's app. Raises UpstreamError when nothing was sent to the client yet.

        The request goes on with its path and query as they came (`raw_path`, `query_string`).
        """
        loop = self._loop
        if loop is None:
            loop = self._start()
        way = self._ways.get(route.prefix)
        if way is None or way.route is not route:
            way = self._way(route)
        head = self._head(scope, way, scope["method"], caller)
        stats = self.stats
        stats.requests += 1
        stats.requests_open += 1
        self.options.on_activity(route)
        exchange = Exchange(scope, receive, send, way=way, caller=caller, head=head)
        self._exchanges.add(exchange)
        try:
            await exchange.run(loop.time())
        finally:
            stats.requests_open -= 1
            self._exchanges.discard(exchange)
            if self._empty is not None:
                self._note_end()

    def _head(self, scope: Scope, way: Way, method: str, caller: Caller, *, websocket: bool = False) -> RequestHead:
        query = scope["query_string"]
        target = scope["raw_path"] + b"?" + query if query else scope["raw_path"]
        return self._rules.head(
            method.encode("ascii") + b" " + target + b" HTTP/1.1",
            scope["headers"],
            peer=scope["client"][0],
            scheme="http" if websocket else scope["scheme"],
            # Where a cookie proves the caller, an Authorization header is not ours: it is the app's business.
            credential=way.credential or (own_authorization(scope["headers"]) if caller.by_cookie else b""),
            websocket=websocket,
        )

    async def websocket(
        self,
        scope: Scope,
        receive: Receive,  # noqa: ARG002 - ASGI's three; see below
        send: Send,
        route: Route,
        *,
        caller: Caller,
    ) -> None:
        """Carry one WebSocket to the route's app, to its end. Refusals, the app's and ours, are answered here.

        `receive` is never called: Granian would read the socket that is taken from it (decision 0002).
        """
        if self._loop is None:
            self._start()
        way = self._ways.get(route.prefix)
        if way is None or way.route is not route:
            way = self._way(route)
        splice = Splice(route=route, caller=caller, options=self.options, stats=self.stats)
        if self._draining:
            splice.end(*_RESTART)
        self._splices.add(splice)
        self.stats.websockets += 1
        self.stats.websockets_total += 1
        self.options.on_activity(route)
        try:
            await carry(
                scope, send, way=way, build=lambda: self._head(scope, way, "GET", caller, websocket=True), splice=splice
            )
        finally:
            self.stats.websockets -= 1
            self._splices.discard(splice)
            self._note_end()

    def close_where(self, predicate: Callable[[Caller], bool], code: int, reason: str) -> int:
        """End what these callers have open, now, and say how many: WebSockets with `code`, requests by being cut."""
        count = 0
        for splice in [each for each in self._splices if predicate(each.caller)]:
            splice.end(code, reason)
            count += 1
        for exchange in [each for each in self._exchanges if predicate(each.caller)]:
            exchange.end()
            count += 1
        return count

    async def drain(self, deadline: float) -> None:
        """Shut down within `deadline` seconds: WebSockets close with 1012, requests may finish, then all is cut."""
        self._draining = True
        for splice in list(self._splices):
            splice.end(*_RESTART)
        if self._splices or self._exchanges:
            self._empty = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(deadline):
                    await self._empty.wait()
        for splice in list(self._splices):
            splice.abort()
        for exchange in list(self._exchanges):
            exchange.end()
        for way in self._ways.values():
            way.pool.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = self._loop = None

    def _note_end(self) -> None:
        if self._empty is not None and not self._splices and not self._exchanges:
            self._empty.set()

    def drop_route(self, prefix: str) -> None:
        """A route is gone or leads elsewhere: its idle connections close; running requests finish.

        Its WebSockets close with 1012, so that clients connect again, to where the route leads now.
        """
        way = self._ways.pop(prefix, None)
        if way is not None:
            way.pool.close()
        for splice in [each for each in self._splices if each.route.prefix == prefix]:
            splice.end(*_RESTART)

    def _way(self, route: Route) -> Way:
        old = self._ways.get(route.prefix)
        if old is not None:
            if old.route == route:
                old.route = route
                return old
            self.drop_route(route.prefix)
        self._ways[route.prefix] = way = Way(route, self._hidden, self.options, self.stats)
        return way

    def _start(self) -> asyncio.AbstractEventLoop:
        self._loop = loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_TICK, self._tick)
        return loop

    def _tick(self) -> None:
        assert self._loop is not None
        self._timer = self._loop.call_later(_TICK, self._tick)
        now = self._loop.time()
        self._ticks += 1
        for exchange in list(self._exchanges):
            exchange.tick(now)
        if self._ticks % 2 == 0:
            for splice in list(self._splices):
                if splice.tick(now):
                    self.options.on_activity(splice.route)
        if self._ticks % _SWEEP_EVERY == 0:
            for way in list(self._ways.values()):
                if way.pool.sweep(now):
                    self._ways.pop(way.route.prefix, None)
