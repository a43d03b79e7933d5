"""The feed: numbered events that every gateway worker mirrors, for routes and revocations.

Key layout: docs/state.md, tag `{feed}`. Numbers have no gaps: a reader that misses one, or finds another epoch, reads
the whole table again. Owns the numbering. Does not know what a worker does with an event.
"""

import secrets
from collections.abc import Iterable
from typing import Any, Final

from msgspec import Struct

from state.records.codec import Codec, UnreadableError
from state.records.models import Route
from state.records.stored import Stored
from state.redis.client import Redis, Script
from state.redis.connection import Argument
from state.store import codecs, keys
from state.store.table import Table
from state.turns import PART, Turns, parts

LOG_LENGTH: Final = 10_000
READ_LIMIT: Final = 1000
DIGESTS_EACH: Final = 200
"""Maximum number of credentials in one `revoked` entry, because workers process an entry at once."""

# KEYS: epoch, number, routes, log. ARGV[1] is an epoch's name, should the feed begin now.
_BEGIN: Final = f"""
redis.call('SET', KEYS[1], ARGV[1], 'NX')
local function tell(kind, what)
  local number = redis.call('INCR', KEYS[2])
  redis.call('XADD', KEYS[4], 'MAXLEN', '~', {LOG_LENGTH}, number .. '-0', kind, what)
  return number
end
"""

_SET: Final = Script(
    _BEGIN
    + """
if redis.call('HGET', KEYS[3], ARGV[2]) == ARGV[3] then return 0 end
redis.call('HSET', KEYS[3], ARGV[2], ARGV[3])
return tell('route', ARGV[3])
"""
)

_DROP: Final = Script(
    _BEGIN
    + """
local route = redis.call('HGET', KEYS[3], ARGV[2])
if not route then return 0 end
local there, record = pcall(cjson.decode, route)
if ARGV[3] ~= '' and there and record.attempt ~= ARGV[3] then return 0 end
redis.call('HDEL', KEYS[3], ARGV[2])
return tell('gone', ARGV[2])
"""
)

_REVOKE: Final = Script(_BEGIN + "return tell('revoked', ARGV[2])")

_NAMED: Final = Script(_BEGIN + "return tell('named', ARGV[2])")

_SNAPSHOT: Final = Script(
    _BEGIN
    + """
return {redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2]) or '0', redis.call('HGETALL', KEYS[3])}
"""
)

_KEYS: Final = (keys.FEED_EPOCH, keys.FEED_NUMBER, keys.FEED_ROUTES, keys.FEED_LOG)


class RouteSet(Struct, frozen=True, tag="route"):
    """A route was added or replaced."""

    number: int
    route: Route


class RouteGone(Struct, frozen=True, tag="gone"):
    """A route was removed."""

    number: int
    prefix: str


class Revoked(Struct, frozen=True, tag="revoked"):
    """Credentials were revoked. `digests`: of tickets and tokens; `user`: check everything of this user again.

    `user` can also be a service's key (`service:NAME`), or `group:NAME` for everyone whose rights depend on that group.
    """

    number: int
    digests: tuple[str, ...] = ()
    user: str = ""


class ServersNamed(Struct, frozen=True, tag="named"):
    """A named server of this user was created or removed."""

    number: int
    user: str


class Unreadable(Struct, frozen=True, tag="unreadable"):
    """An event cannot be read: everything cached must be read again."""

    number: int


FeedEvent = RouteSet | RouteGone | Revoked | ServersNamed | Unreadable


class Snapshot(Struct, frozen=True):
    """The whole table, as of `number` in `epoch`."""

    epoch: str
    number: int
    routes: tuple[Route, ...]


class FeedGapError(Exception):
    """The reader is too far behind, or the feed was restarted: take a snapshot."""


class _Ended(Stored, frozen=True, kw_only=True):
    """The stored form of `Revoked`."""

    digests: tuple[str, ...] = ()
    user: str = ""


_ENDED: Final = Codec(_Ended)


class Feed:
    """The feed. All methods raise StateUnavailableError if Redis cannot serve requests."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._routes = Table(redis, codecs.ROUTE)

    async def set_route(self, route: Route) -> int:
        """Publish a route and return the event's number. An unchanged route is not published, and returns 0."""
        return await self._run(_SET, route.prefix, self._routes.encode(route))

    async def drop_route(self, prefix: str, *, attempt: str = "") -> int:
        """Remove a route (with `attempt`: only if it is of this attempt). Return 0 if there was none."""
        return await self._run(_DROP, prefix, attempt)

    async def servers_named(self, user: str) -> int:
        """Publish that a named server of this user was created or removed."""
        return await self._run(_NAMED, user)

    async def revoke(self, *, digests: tuple[str, ...] = (), user: str = "") -> int:
        """Publish that credentials were revoked."""
        return await self._run(_REVOKE, _ENDED.encode(_Ended(digests=digests, user=user)))

    async def revoke_digests(self, digests: Iterable[str]) -> None:
        """Publish that any number of credentials were revoked, several per entry."""
        every = tuple(digests)
        calls = [
            (_KEYS, (secrets.token_hex(8), _ENDED.encode(_Ended(digests=every[at : at + DIGESTS_EACH]))))
            for at in range(0, len(every), DIGESTS_EACH)
        ]
        await self._redis.run_many(_REVOKE, calls)

    async def revoke_many(self, users: Iterable[str]) -> None:
        """Publish changes of several users (or groups, services) in one round trip."""
        calls = [(_KEYS, (secrets.token_hex(8), _ENDED.encode(_Ended(user=user)))) for user in users]
        await self._redis.run_many(_REVOKE, calls)

    async def route(self, prefix: str) -> Route | None:
        """Return one route from the table; None if it does not exist or cannot be read."""
        found = await self._redis.call("HGET", keys.FEED_ROUTES, prefix)
        return self._routes.one(found, keys.FEED_ROUTES, prefix)

    async def snapshot(self) -> Snapshot:
        """Return the whole table, without unreadable routes."""
        epoch, number, flat = await self._redis.run(_SNAPSHOT, _KEYS, (secrets.token_hex(8),))
        turns = Turns()
        routes: list[Route] = []
        for part in parts(flat, 2 * PART):  # field, record, field, ...
            routes += self._routes.fields(part, keys.FEED_ROUTES).values()
            await turns.give()
        return Snapshot(epoch.decode(), int(number), tuple(routes))

    async def read(self, epoch: str, after: int, *, timeout: float) -> list[FeedEvent]:  # noqa: ASYNC109
        """Return the events after `after`, waiting up to `timeout` seconds. Raises FeedGapError."""
        events = await self._since(epoch, after)
        if events or timeout <= 0:
            return events
        await self._redis.wait(
            "XREAD",
            "COUNT",
            1,
            "BLOCK",
            max(1, int(timeout * 1000)),
            "STREAMS",
            keys.FEED_LOG,
            f"{after}-0",
            seconds=timeout,
        )
        return await self._since(epoch, after)  # the entry that woke us does not tell the epoch

    async def _since(self, epoch: str, after: int) -> list[FeedEvent]:
        now, number, entries = await self._redis.pipeline(
            (
                ("GET", keys.FEED_EPOCH),
                ("GET", keys.FEED_NUMBER),
                ("XRANGE", keys.FEED_LOG, f"{after + 1}-0", "+", "COUNT", READ_LIMIT),
            )
        )
        if now is None or now.decode() != epoch or int(number or 0) < after:
            raise FeedGapError("The feed was restarted.")
        events = [self._event(entry) for entry in entries]
        if events and events[0].number != after + 1:
            raise FeedGapError("The reader is too far behind.")
        if not events and int(number or 0) > after:
            raise FeedGapError("The feed has lost its log.")
        return events

    def _event(self, entry: Any) -> FeedEvent:
        position, (kind, what) = entry
        number = int(position.partition(b"-")[0])
        try:
            match kind:
                case b"route":
                    return RouteSet(number, codecs.ROUTE.decode(what))
                case b"gone":
                    return RouteGone(number, what.decode())
                case b"named":
                    return ServersNamed(number, what.decode())
                case _:
                    ended = _ENDED.decode(what)
                    if not ended.digests and not ended.user:
                        raise UnreadableError("it has no user and no digests")
                    return Revoked(number, ended.digests, ended.user)
        except (UnreadableError, UnicodeDecodeError) as error:
            self._redis.damage.note("event of the feed", keys.FEED_LOG, position.decode(), str(error))
            return Unreadable(number)

    async def _run(self, script: Script, *args: Argument) -> int:
        number: int = await self._redis.run(script, _KEYS, (secrets.token_hex(8), *args))
        return number
