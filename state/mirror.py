"""A worker's own copy of what the data plane asks at every request: routes, and who is asking.

Owns: the route table in memory, the cache of sessions and tokens, the task that follows the feed, and the
clock of an outage. The hot path (`lookup`, `peek`) is synchronous and never awaits Redis.
Refuses to know HTTP: it is given a path's bytes and a credential's digest.
"""

from collections.abc import Callable

from state.records import Route, Session, Token, User
from state.store.all import Store

REVALIDATE_SECONDS = 30.0
"""How old a cached credential may get before it is read again in the background."""


class Identity:
    """Who is asking: the user, and by what. `scopes` are JupyterHub's; a session has all that the user has."""

    __slots__ = ("digest", "scopes", "session", "token", "user")

    def __init__(self, user: User, digest: str, scopes: frozenset[str], *, session: Session | None = None,
                 token: Token | None = None) -> None:
        self.user = user
        self.digest = digest
        self.scopes = scopes
        self.session = session
        self.token = token


class Mirror:
    """The mirror of one worker process."""

    def __init__(self, store: Store, *, grace: float) -> None:
        """`grace`: seconds for which what is known is served while Redis is away."""
        raise NotImplementedError

    async def start(self) -> None:
        """Take the snapshot and follow the feed until `stop`; survives outages by itself."""
        raise NotImplementedError

    async def stop(self) -> None:
        """End the background tasks."""
        raise NotImplementedError

    @property
    def fresh(self) -> bool:
        """False when Redis has been away for longer than the grace: answer 503."""
        raise NotImplementedError

    def lookup(self, user: str, segment: str) -> Route | None:
        """The route of `user`'s server named `segment`, else of the default server, else None.

        `segment` is the first decoded path segment after the user's (`""`: none).
        """
        raise NotImplementedError

    def peek(self, digest: str) -> Identity | None:
        """A cached identity, without waiting; None: not cached (it may still be valid: use `identify`)."""
        raise NotImplementedError

    async def identify_session(self, digest: str) -> Identity | None:
        """The identity of a ticket's digest: from the cache, else from Redis; None: not valid.

        Unknown digests are remembered for a moment, in a bounded cache, so that a flood of bad cookies
        is not a flood on Redis. Raises StateUnavailableError.
        """
        raise NotImplementedError

    async def identify_token(self, digest: str) -> Identity | None:
        """As `identify_session`, for an API token's digest."""
        raise NotImplementedError

    def on_revoked(self, callback: Callable[[frozenset[str], str], None]) -> None:
        """Call with (digests, user) when credentials end: open WebSockets of theirs must close."""
        raise NotImplementedError

    def on_route_change(self, callback: Callable[[str, Route | None], None]) -> None:
        """Call with (prefix, new route or None) when a route changes: pools to the old endpoint must close."""
        raise NotImplementedError

    def note_activity(self, user: str, name: str) -> None:
        """Remember that this server was used now; written to Redis in batches."""
        raise NotImplementedError

    def note_token_use(self, digest: str) -> None:
        """Remember that this token was used now; written in batches."""
        raise NotImplementedError
