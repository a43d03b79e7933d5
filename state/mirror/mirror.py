"""A worker's in-memory copy of what the data plane needs for every request: routes and identities.

Owns the route table, the cache of sessions and tokens, the task that follows the feed, and the time since Redis became
unavailable. The hot path (`lookup`, `peek`) is synchronous and never waits for Redis. Does not know HTTP: callers pass
parts of a path and the digest of a credential.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from state.errors import StateUnavailableError
from state.mirror.identities import REVALIDATE_SECONDS, Identities
from state.mirror.routes import RouteTable
from state.mirror.server_names import ServerNames
from state.records.models import Route
from state.rights.identity import Identity
from state.rights.roles import Roles
from state.store.all import Store
from state.store.feed import FeedEvent, FeedGapError, Revoked, RouteGone, RouteSet, ServersNamed, Unreadable
from state.store.keys import ACTIVITY_OF_USER

READ_SECONDS: Final = 5.0
"""How long one read of the feed waits."""
SNAPSHOT_SECONDS: Final = 300.0
"""How often the whole table is read again, in case the feed missed something (a failover that lost writes)."""
BACK_OFF: Final = (0.05, 0.4)
"""First and longest pause in seconds between attempts to reach Redis."""
FLUSH_SECONDS: Final = 3.0
LOOK_SECONDS: Final = 2.0
NOTES_LIMIT: Final = 100_000

_log = logging.getLogger("towpath.mirror")


class Mirror:
    """The mirror of one worker process."""

    def __init__(
        self,
        store: Store,
        *,
        grace: float,
        session_lifetime: float = 14 * 24 * 3600,
        roles: Roles | None = None,
        service_digests: Mapping[str, str] | None = None,
    ) -> None:
        """`grace`: seconds for which known routes and identities are used while Redis is unavailable.

        `session_lifetime`: seconds after the last use at which a session ends. `roles` and `service_digests`: see
        `Identities`.
        """
        self._store = store
        self._grace = grace
        self._routes = RouteTable()
        self.server_names = ServerNames(store)
        self._identities = Identities(
            store, self._tell_revoked, lifetime=session_lifetime, roles=roles, service_digests=service_digests
        )
        self._revoked_callbacks: list[Callable[[frozenset[str], str], None]] = []
        self._route_callbacks: list[Callable[[str, Route | None], None]] = []
        self._activity: dict[tuple[str, str], float] = {}
        self._token_use: dict[str, float] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._epoch = ""
        self._number = 0
        self._losses = -1
        self._snapshot_at = 0.0
        self._away_since: float | None = float("-inf")  # nothing is known yet

    async def start(self) -> None:
        """Read the snapshot and follow the feed until `stop`. Recovers from outages.

        Returns when the snapshot is complete or the first attempt has failed: see `fresh`.
        """
        try:
            await self._take_snapshot()
        except StateUnavailableError:
            _log.warning("Redis is unavailable; the mirror starts empty and retries")
        for work in (
            self._follow(),
            self._every(LOOK_SECONDS, self._identities.revalidate),
            self._every(FLUSH_SECONDS, self._flush),
        ):
            self._tasks.append(asyncio.create_task(work))

    async def stop(self) -> None:
        """Stop the background tasks and write pending notes, with a short time limit."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        with contextlib.suppress(StateUnavailableError, TimeoutError):
            async with asyncio.timeout(2.0):
                await self._flush()

    @property
    def fresh(self) -> bool:
        """False if Redis has been unavailable for longer than the grace period. Requests get a 503 then."""
        return self._away_since is None or time.monotonic() - self._away_since < self._grace

    @property
    def away(self) -> bool:
        """True while Redis does not answer, or before the table was first read."""
        return self._away_since is not None

    def lookup(self, user: str, segment: str) -> Route | None:
        """Return the route of `user`'s server named `segment`, else of the default server, else None.

        `segment` is the first decoded path segment after the user's (`""`: none).
        """
        return self._routes.lookup(user, segment)

    def peek(self, digest: str) -> Identity | None:
        """Return a cached identity without waiting. None: not cached, but it may be valid (use `identify_…`)."""
        return self._identities.peek(digest)

    async def identify_session(self, digest: str) -> Identity | None:
        """Return the identity of a session cookie's digest, from the cache or from Redis; None: not valid.

        Unknown digests are remembered for a moment in a bounded cache, so that a flood of invalid cookies does not
        flood Redis. Raises StateUnavailableError.
        """
        return await self._identities.identify(digest, session=True)

    async def identify_token(self, digest: str) -> Identity | None:
        """As `identify_session`, for the digest of an API token."""
        return await self._identities.identify(digest, session=False)

    def on_revoked(self, callback: Callable[[frozenset[str], str], None]) -> None:
        """Call with (digests, user) when credentials end, so that their open WebSockets are closed.

        `digests` have ended. `user`, if not empty, is a user who has changed (admin, groups, shares, removed) or a
        group (`group:NAME`) that has. Authorize what they have open again, with `identify_…`.
        """
        self._revoked_callbacks.append(callback)

    def on_route_change(self, callback: Callable[[str, Route | None], None]) -> None:
        """Call with (prefix, new route or None) when a route changes, so that pooled connections are closed."""
        self._route_callbacks.append(callback)

    def note_activity(self, user: str, name: str) -> None:
        """Note that this server was used now. Notes are written to Redis in batches."""
        self._activity[user, name] = time.time()

    def note_user(self, user: str) -> None:
        """Note that this user used the hub now, with a browser or a token. Notes are written in batches."""
        self._activity[user, ACTIVITY_OF_USER] = time.time()

    def note_token_use(self, digest: str) -> None:
        """Note that this token was used now. Notes are written in batches."""
        self._token_use[digest] = time.time()

    # --- the feed -------------------------------------------------------------------------------------------
    async def _follow(self) -> None:
        pause = BACK_OFF[0]
        while True:
            try:
                await self._follow_on()
                pause = BACK_OFF[0]
            except FeedGapError:
                self._epoch = ""
            except StateUnavailableError as error:
                if self._away_since is None:
                    self._away_since = time.monotonic()
                    _log.warning("Redis is unavailable reason=%s", error.__cause__)
                self._epoch = ""
                await asyncio.sleep(pause)
                pause = min(pause * 2, BACK_OFF[1])
            except Exception:  # noqa: BLE001  # one unreadable record must not stop the task for good
                _log.exception("The feed could not be read; reading the whole table again")
                self._epoch = ""
                await asyncio.sleep(BACK_OFF[1])

    async def _follow_on(self) -> None:
        """Read the feed once, or the whole table where that is safer."""
        if (
            not self._epoch
            or self._losses != self._store.redis.losses
            or time.monotonic() - self._snapshot_at > SNAPSHOT_SECONDS
        ):
            await self._take_snapshot()
        events = await self._store.feed.read(self._epoch, self._number, timeout=READ_SECONDS)
        self._away_since = None
        if self._losses != self._store.redis.losses:
            return  # after a lost connection the numbers may have started again (a crash can lose the last second)
        for event in events:
            self._number = event.number
            self._apply(event)

    def _apply(self, event: FeedEvent) -> None:
        match event:
            case RouteSet(route=route):
                if self._routes.put(route):
                    self._tell_route(route.prefix, route)
            case RouteGone(prefix=prefix):
                if self._routes.drop(prefix):
                    self._tell_route(prefix, None)
            case ServersNamed(user=user):
                self.server_names.changed(user)
            case Revoked(digests=digests, user=user):
                self._identities.revoked(digests, user)
                self._tell_revoked(frozenset(digests), user)
            case Unreadable():
                self._identities.doubt()
                self._epoch = ""

    async def _take_snapshot(self) -> None:
        losses = self._store.redis.losses
        snapshot = await self._store.feed.snapshot()
        if self._epoch != snapshot.epoch or losses != self._losses:
            self._identities.doubt()
        self._epoch, self._number, self._losses = snapshot.epoch, snapshot.number, losses
        self._snapshot_at = time.monotonic()
        self.server_names.doubt()
        if self._away_since is not None:
            _log.debug("The mirror was read again routes=%d", len(snapshot.routes))
        self._away_since = None
        for prefix, route in self._routes.replace(snapshot.routes):
            self._tell_route(prefix, route)

    def _tell_route(self, prefix: str, route: Route | None) -> None:
        for callback in self._route_callbacks:
            _call(callback, prefix, route)

    def _tell_revoked(self, digests: frozenset[str], user: str) -> None:
        for callback in self._revoked_callbacks:
            _call(callback, digests, user)

    # --- background tasks ------------------------------------------------------------------------------------
    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await work()
            except StateUnavailableError:
                pass  # retried at the next interval
            except Exception:  # noqa: BLE001  # logged, and tried again
                _log.exception("A background task of the mirror failed")

    async def _flush(self) -> None:
        """Write pending notes. What cannot be written is kept for the next time, up to a limit."""
        activity, self._activity = self._activity, {}
        token_use, self._token_use = self._token_use, {}
        try:
            await self._store.servers.touch(activity)
            activity = {}
            await self._store.tokens.used(token_use)
            token_use = {}
            await self._store.bad_records.tell()
        finally:
            if len(self._activity) + len(activity) < NOTES_LIMIT:
                self._activity = activity | self._activity
            if len(self._token_use) + len(token_use) < NOTES_LIMIT:
                self._token_use = token_use | self._token_use


def _call(callback: Callable[..., None], *args: object) -> None:
    """Call a listener. Its errors must not affect the others."""
    try:
        callback(*args)
    except Exception:  # noqa: BLE001  # logged
        _log.exception("A listener of the mirror failed")


__all__ = ["REVALIDATE_SECONDS", "Mirror"]
