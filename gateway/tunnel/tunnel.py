"""The tunnel of one worker: what is open, to where, for whom.

Owns the routes in use with their pools, the open requests and WebSockets, one timer for all of them, and the shutdown.
Does not know about rights: the caller has decided before it calls.
"""

import asyncio
import contextlib
from collections.abc import Callable

from gateway.tunnel import cors, sandbox
from gateway.tunnel.answers import Rules
from gateway.tunnel.cookies import Hidden
from gateway.tunnel.errors import UpstreamError
from gateway.tunnel.exchange import Exchange
from gateway.tunnel.headers import Fields, RequestRules, ResponseHead, own_authorization, response_head
from gateway.tunnel.options import Caller, Stats, TunnelOptions
from gateway.tunnel.prefix import restored
from gateway.tunnel.relay import Refuse, Relay
from gateway.tunnel.splice import Splice
from gateway.tunnel.way import Way
from gateway.tunnel.websocket import End, Opening
from gateway.wire import Request
from state.records.models import Endpoint, Route

_TICK = 0.5
_RESTART = (1012, "The server restarts")
_SWEEP_EVERY = 10  # ticks
_NO_LIMIT = 1_000_000


class _Carried:
    """A head for an app, for one caller and one way: kept with the client's head that it was made from."""

    __slots__ = ("block", "caller", "peer", "source", "way")

    def __init__(self, way: Way, caller: Caller, peer: str, block: bytes) -> None:
        self.way = way
        self.caller = caller
        self.peer = peer
        self.block = block
        self.source = caller.source or caller.user


class Tunnel:
    """Carries requests and WebSockets to apps. Used from one event loop."""

    def __init__(self, options: TunnelOptions) -> None:
        self.options = options
        self.stats = Stats()
        self._hidden = Hidden(options.hidden_cookies)
        self._rules = RequestRules(self._hidden, options.trusted_proxies, options.public, options.hidden_headers)
        self._ways: dict[str, Way] = {}
        self._others: list[Way] = []
        self._relays: set[Relay] = set()
        self._relay_over = self._relays.discard
        self._splices: set[Splice] = set()
        self._draining = False
        self._timer: asyncio.TimerHandle | None = None
        self._ticks = 0

    def http(self, request: Request, route: Route, *, caller: Caller, refuse: Refuse) -> None:
        """Carry one HTTP request to the route's app. `refuse` answers it if nothing was sent to the client yet.

        The request keeps its path and query unchanged.
        """
        way = self._ways.get(route.prefix)
        if way is None or way.route is not route:
            way = self._way(route)
        carried: _Carried | None = request.head.carried
        peer = request.client.peer
        if carried is None or carried.way is not way or carried.caller is not caller or carried.peer != peer:
            try:
                carried = _Carried(way, caller, peer, self._block(request, way, caller))
            except UpstreamError as error:
                refuse(request, error)
                return
            request.head.carried = carried
        self.options.on_activity(route)
        line = request.method + b" " + way.target(request.target, by_token=not caller.by_cookie) + b" HTTP/1.1"
        extra = sandbox.LINE if way.credential and sandbox.confined(request.target, way.slashes) else b""
        if way.cors:
            origin = b"" if caller.by_cookie else way.cors.origin_of(request.head.fields)
            extra += b"".join([b"%b: %b\r\n" % pair for pair in cors.response_fields(origin)])
        exchange = Exchange(request, way=way, caller=caller, refuse=refuse, on_end=self._relay_over, extra=extra)
        self._carry(exchange, line + carried.block, carried.source)

    def way_to(self, endpoint: Endpoint, rules: Rules, *, name: str) -> Way:
        """Return a way that is no route: for `carry`. `rules` say which fields of a response cross."""
        way = Way(endpoint, rules, name=name, route=None, options=self.options, stats=self.stats, size=_NO_LIMIT)
        self._others.append(way)
        return way

    def carry(
        self,
        request: Request,
        way: Way,
        block: bytes,
        *,
        source: str,
        refuse: Refuse,
        when_over: Callable[[], object],
    ) -> None:
        """Carry a request whose head is made already: `block` lacks only framing and blank line.

        `source`: whose request it is, where connections are counted. `when_over` is called once, when it is over.
        """

        def over(relay: Relay) -> None:
            self._relays.discard(relay)
            when_over()

        self._carry(Exchange(request, way=way, caller=None, refuse=refuse, on_end=over), block, source)

    def _carry(self, exchange: Exchange, block: bytes, source: str) -> None:
        if self._timer is None:
            self._start()
        self.stats.requests += 1
        self._relays.add(exchange)
        exchange.start(block, source=source)

    def _block(self, request: Request, way: Way, caller: Caller, *, websocket: bool = False) -> bytes:
        """Return all of the head for the app but its first line. Raises UpstreamError."""
        fields = request.head.fields
        authorization = b"Authorization: " + caller.authorization + b"\r\n" if caller.authorization else b""
        if way.cut:
            way.note_host(self.options.public.host(request.head.host.decode("latin-1")).encode("latin-1"))
        head = self._rules.head(
            b"",
            fields,
            peer=request.client.peer,
            scheme="http",
            # Where a cookie proves the caller, an Authorization header is not ours: it is the app's business.
            credential=way.credential or authorization or (own_authorization(fields) if caller.by_cookie else b""),
            cookie=caller.cookie,
            websocket=websocket,
        )
        return head.block + way.prefix_line + (way.names(caller) if way.credential else b"")

    def websocket(self, request: Request, route: Route, *, caller: Caller, refuse: Refuse) -> None:
        """Carry one WebSocket to the route's app, to its end. `refuse` answers it if we refuse it ourselves."""
        if self._timer is None:
            self._start()
        way = self._ways.get(route.prefix)
        if way is None or way.route is not route:
            way = self._way(route)
        source = caller.source or caller.user
        try:
            block = self._block(request, way, caller, websocket=True)
            if not way.websockets.take(source):
                raise UpstreamError("too-many")
        except UpstreamError as error:
            refuse(request, error)
            return
        self.stats.websockets_total += 1
        self.options.on_activity(route)
        opening = Opening(
            request,
            b"GET " + way.target(request.target, by_token=not caller.by_cookie) + b" HTTP/1.1" + block,
            way=way,
            source=source,
            caller=caller,
            refuse=refuse,
            on_end=self._opening_over,
            tie=self._tie,
        )
        if self._draining:
            opening.end(*_RESTART)
        self._relays.add(opening)
        opening.start()

    def _opening_over(self, relay: Relay) -> None:
        """Note that a WebSocket was not opened. See `_tie` for one that was."""
        self._relays.discard(relay)
        assert isinstance(relay, Opening)
        relay.way.websockets.free(relay.source)

    def _tie(self, opening: Opening, client: End, app: End) -> None:
        """Tie the two connections of a WebSocket together. See `Tie`."""
        self._relays.discard(opening)
        way, caller, source = opening.way, opening.caller, opening.source
        assert way.route is not None
        assert caller is not None

        def ended(splice: Splice) -> None:
            self._splices.discard(splice)
            self.stats.websockets -= 1
            way.websockets.free(source)

        splice = Splice(route=way.route, caller=caller, options=self.options, stats=self.stats, ended=ended)
        self._splices.add(splice)
        self.stats.websockets += 1
        splice.open(client.transport, client.early, app.transport, app.early)
        if opening.ending is not None:
            splice.end(*opening.ending)

    def close_where(self, predicate: Callable[[Caller], bool], code: int, reason: str) -> int:
        """End now what these callers have open, and return how many: WebSockets with `code`, requests by being cut."""
        return self.end_where(lambda caller, _route, _writing: predicate(caller), code, reason)

    def end_where(self, predicate: Callable[[Caller, Route, bool], bool], code: int, reason: str) -> int:
        """End what these select: the caller, the route, and whether it is more than reading. See `close_where`.

        A WebSocket is more than reading, and a request of an unsafe method (RFC 9110 section 9.2.1).
        """
        count = 0
        for splice in [each for each in self._splices if predicate(each.caller, each.route, True)]:  # noqa: FBT003
            splice.end(code, reason)
            count += 1
        for relay in list(self._relays):
            caller, route = relay.caller, relay.way.route
            if caller is not None and route is not None and predicate(caller, route, relay.writing):
                relay.end(code, reason)
                count += 1
        return count

    @property
    def requests_open(self) -> int:
        """Return how many requests are open; for WebSockets see `stats`."""
        return len(self._relays)

    async def drain(self, deadline: float) -> None:
        """Shut down within `deadline` seconds: WebSockets close with 1012, requests may finish, then all is cut.

        The portal's streams of events are cut at once: they would not end, and browsers resume them elsewhere.
        """
        self._draining = True
        for relay in list(self._relays):
            if isinstance(relay, Opening) or (relay.events and relay.way.route is None):
                relay.end(*_RESTART)
        for splice in list(self._splices):
            splice.end(*_RESTART)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline):
                while self._relays or self._splices:  # noqa: ASYNC110 - once in a worker's life
                    await asyncio.sleep(0.02)
        for splice in list(self._splices):
            splice.abort()
        for relay in list(self._relays):
            relay.abort()
        for way in [*self._ways.values(), *self._others]:
            way.pool.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def close(self) -> None:
        """Close what the ways in keep open. Nothing is carried any more."""
        for way_in in self.options.ways_in.values():
            await way_in.close()

    def drop_route(self, prefix: str) -> None:
        """Handle a route that was removed or changed: close its idle connections, and let running requests finish.

        Its WebSockets close with 1012, so that clients connect again, to where the route leads now.
        """
        way = self._ways.pop(prefix, None)
        if way is None:
            return
        way.pool.close()
        for splice in [each for each in self._splices if each.route.prefix == prefix]:
            splice.end(*_RESTART)
        for relay in list(self._relays):
            if relay.way is way and isinstance(relay, Opening):
                relay.end(*_RESTART)

    def _way(self, route: Route) -> Way:
        old = self._ways.get(route.prefix)
        if old is not None:
            if old.route == route:
                old.route = route
                return old
            self.drop_route(route.prefix)
        prefix = route.prefix.encode("ascii")
        hosts: set[bytes] = set()

        def rules(fields: Fields) -> ResponseHead:
            if route.user:  # a service answers pages of other origins itself
                fields = cors.without_own(fields)
            restored_fields = restored(fields, prefix, hosts) if route.strip else fields
            return response_head(restored_fields, prefix, self._hidden, withheld=self.options.withheld)

        self._ways[route.prefix] = way = Way(
            route.endpoint,
            rules,
            name=route.prefix,
            route=route,
            options=self.options,
            stats=self.stats,
            size=self.options.per_app,
            hosts=hosts,
        )
        return way

    def _start(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_TICK, self._tick)

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_TICK, self._tick)
        now = loop.time()
        self._ticks += 1
        for relay in list(self._relays):
            relay.tick(now)
        if self._ticks % 2 == 0:
            for splice in list(self._splices):
                if splice.tick(now):
                    self.options.on_activity(splice.route)
        if self._ticks % _SWEEP_EVERY == 0:
            for way in list(self._ways.values()):
                if way.pool.sweep(now) and way.route is not None:
                    self._ways.pop(way.route.prefix, None)
            for way in self._others:
                way.pool.sweep(now)
