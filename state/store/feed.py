"""The feed: numbered events that every gateway worker mirrors. Routes, and what has been revoked.

Key layout: docs/state.md, tag `{feed}`. Numbers have no gaps: a reader that misses one, or finds another epoch,
reads the whole table again. Owns the numbering. Refuses to know what a worker does with an event.
"""

from msgspec import Struct

from state.records import Route
from state.redis import Redis


class RouteSet(Struct, frozen=True, tag="route"):
    """A route was added or replaced."""

    number: int
    route: Route


class RouteGone(Struct, frozen=True, tag="gone"):
    """A route was taken away."""

    number: int
    prefix: str


class Revoked(Struct, frozen=True, tag="revoked"):
    """Credentials ended. `digests`: of tickets and tokens; `user`: everything of that user is to be checked anew."""

    number: int
    digests: tuple[str, ...] = ()
    user: str = ""


FeedEvent = RouteSet | RouteGone | Revoked


class Snapshot(Struct, frozen=True):
    """The whole table, as of `number` in `epoch`."""

    epoch: str
    number: int
    routes: tuple[Route, ...]


class FeedGapError(Exception):
    """The reader is too far behind, or the feed began anew: take a snapshot."""


class Feed:
    """The feed. All verbs raise StateUnavailableError when Redis cannot serve."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def set_route(self, route: Route) -> int:
        """Publish a route; the event's number. The same route again changes nothing and returns 0."""
        raise NotImplementedError

    async def drop_route(self, prefix: str, *, attempt: str = "") -> int:
        """Take a route away (only if it is of this attempt, where given); 0 when there was none."""
        raise NotImplementedError

    async def revoke(self, *, digests: tuple[str, ...] = (), user: str = "") -> int:
        """Publish that credentials ended."""
        raise NotImplementedError

    async def route(self, prefix: str) -> Route | None:
        """One route, straight from the table."""
        raise NotImplementedError

    async def snapshot(self) -> Snapshot:
        """The whole table."""
        raise NotImplementedError

    async def read(self, epoch: str, after: int, *, timeout: float) -> list[FeedEvent]:
        """Events after `after`, waiting up to `timeout` seconds. Raises FeedGapError (see there)."""
        raise NotImplementedError
