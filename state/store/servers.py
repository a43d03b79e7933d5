"""Servers: records, their events, activity, and the list of those that want work.

Key layout: docs/state.md, tags `{u:NAME}` and `{servers}`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec.structs import replace

from state.names import server_key, split_server_key
from state.records.models import Event, Server
from state.redis.client import REVISION_OF, Redis, Script
from state.store import codecs, keys
from state.store.feed import Feed
from state.store.shares import Shares
from state.store.table import Table
from state.store.tokens import Tokens
from state.turns import parts

EVENTS_KEPT: Final = 500
WORK_KEPT: Final = 10_000

# KEYS: servers, events. ARGV: name, expected revision, fencing token, JSON, event JSON or nothing, how many named
# servers there may be.
_SAVE: Final = Script(
    REVISION_OF
    + f"""
local now = redis.call('HGET', KEYS[1], ARGV[1])
local revision, fence = 0, 0
if now then
  revision, fence = revision_of(now)
  if not revision then return redis.error_reply('BAD record') end
end
local mine = tonumber(ARGV[3])
if mine > 0 and mine < fence then return redis.error_reply('FENCED token') end
if revision ~= tonumber(ARGV[2]) then return redis.error_reply('CONFLICT revision') end
local limit = tonumber(ARGV[6])
if limit > 0 and not now and ARGV[1] ~= '' and
  redis.call('HLEN', KEYS[1]) - redis.call('HEXISTS', KEYS[1], '') >= limit then
  return redis.error_reply('LIMIT servers')
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[4])
if ARGV[5] ~= '' then redis.call('XADD', KEYS[2], 'MAXLEN', '~', {EVENTS_KEPT}, '*', 'event', ARGV[5]) end
return 1
"""
)

# KEYS: servers, events, activity. ARGV: name, expected revision.
_REMOVE: Final = Script(
    REVISION_OF
    + """
local now = redis.call('HGET', KEYS[1], ARGV[1])
if not now then return redis.error_reply('CONFLICT revision') end
local revision = revision_of(now)
if not revision then return redis.error_reply('BAD record') end
if revision ~= tonumber(ARGV[2]) then return redis.error_reply('CONFLICT revision') end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('DEL', KEYS[2])
return 1
"""
)

# KEYS: mark, active. ARGV: server key.
_MARK: Final = Script("""
return redis.call('ZADD', KEYS[2], redis.call('INCR', KEYS[1]), ARGV[1])
""")

# KEYS: active. ARGV: server key, mark.
_SETTLE: Final = Script("""
local mark = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not mark or tonumber(mark) ~= tonumber(ARGV[2]) then return 0 end
return redis.call('ZREM', KEYS[1], ARGV[1])
""")

# KEYS: user, servers, activity. ARGV: field of the user, then server name and seconds, again and again.
# What is gone stays gone: activity makes neither a user nor a server.
_TOUCH: Final = Script("""
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local function later(field, seconds)
  local before = redis.call('HGET', KEYS[3], field)
  if not before or tonumber(before) < tonumber(seconds) then redis.call('HSET', KEYS[3], field, seconds) end
end
for at = 2, #ARGV, 2 do
  if redis.call('HEXISTS', KEYS[2], ARGV[at]) == 1 then later(ARGV[at], ARGV[at + 1]) end
  later(ARGV[1], ARGV[at + 1])
end
return 1
""")

_STREAM_ID: Final = re.compile(r"[0-9]{1,18}(-[0-9]{1,18})?")


class Servers:
    """The servers. All verbs raise StateUnavailableError when Redis cannot serve."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._tokens = Tokens(redis)
        self._feed = Feed(redis)
        self._servers = Table(redis, codecs.SERVER)
        self._events = Table(redis, codecs.EVENT)

    async def get(self, user: str, name: str) -> Server | None:
        """The record, or None. Raises BadRecordError."""
        found = await self._redis.call("HGET", keys.servers(user), name)
        return self._servers.demand(found, keys.servers(user), name)

    async def of_user(self, user: str) -> list[Server]:
        """All servers of one user, by name; those that cannot be read are left out."""
        found = await self._servers.hash(keys.servers(user))
        return [found[name] for name in sorted(found)]

    async def names(self, user: str) -> frozenset[str]:
        """Return the names of all servers of a user, running or not. `""` is the default server's."""
        return frozenset(name.decode() for name in await self._redis.call("HKEYS", keys.servers(user)))

    async def save(
        self,
        server: Server,
        *,
        event: Event | None = None,
        fence: int = 0,
        marked: bool = False,
        wake: bool = True,
        limit: int = 0,
    ) -> Server:
        """Compare-and-set by `revision` (0: there must be none), with its event, atomically.

        Returns the record with its new revision (and fence). Where the controller has something to do (`server.active`
        or `server.removing`), marks the server before and wakes the controller after. The tokens of an attempt that has
        ended end with it. `fence` is the caller's fencing token (0: not a leader's write). Raises ConflictError,
        BadRecordError, or FencedError when the record has seen a higher token.

        `limit`: how many named servers the user may have (0: any number); one more raises LimitError.

        `marked`: the record that is replaced was active, so that its mark is there. `wake` False: the caller is the
        controller, and looks again by itself. Each saves a write and a round trip.
        """
        saved = replace(server, revision=server.revision + 1, fence=max(server.fence, fence))
        key = server_key(server.user, server.name)
        pending = saved.active or saved.removing
        if pending and not marked:
            await self._redis.run(_MARK, (keys.SERVERS_MARK, keys.SERVERS_ACTIVE), (key,))
        await self._redis.run(
            _SAVE,
            (keys.servers(server.user), keys.events(server.user, server.name)),
            (
                server.name,
                server.revision,
                fence,
                self._servers.encode(saved),
                b"" if event is None else self._events.encode(event),
                limit,
            ),
        )
        if server.name and not server.revision:
            await self._feed.servers_named(server.user)
        if not saved.active:
            await self._tokens.end_bound(key, attempt=saved.attempt)
        if pending and wake:
            await self.wake(key)
        return saved

    async def remove(self, server: Server) -> None:
        """Delete the record (compare-and-set by `revision`) and all that ends with the server.

        Raises ConflictError, BadRecordError.

        That is: its events and activity, the tokens that were issued to it, its shares and share codes. The route is
        the caller's to drop.
        """
        await self._redis.run(
            _REMOVE,
            (keys.servers(server.user), keys.events(server.user, server.name), keys.activity(server.user)),
            (server.name, server.revision),
        )
        if server.name:
            await self._feed.servers_named(server.user)
        await self.end_dependents(server.user, server.name)

    async def end_dependents(self, user: str, name: str) -> None:
        """End what must not outlive a server: the tokens that were issued to it, its shares and its share codes."""
        await self._tokens.end_bound(server_key(user, name))
        await Shares(self._redis).remove_server(user, name)

    async def settled(self, user: str, name: str) -> bool:
        """Whether the controller has nothing left to do for a server."""
        return await self._redis.call("ZSCORE", keys.SERVERS_ACTIVE, server_key(user, name)) is None

    async def active(self) -> dict[str, int]:
        """Every server key that may want work, with its mark."""
        found = await self._redis.call("ZRANGE", keys.SERVERS_ACTIVE, 0, -1, "WITHSCORES")
        return {found[at].decode(): int(float(found[at + 1])) for at in range(0, len(found), 2)}

    async def many(self, keys_: Sequence[str]) -> dict[str, Server]:
        """The records of several keys, pipelined; those that are missing or cannot be read are left out."""
        return (await self.read(keys_))[0]

    async def read(self, keys_: Sequence[str]) -> tuple[dict[str, Server], frozenset[str]]:
        """As `many`, and the keys of the records that cannot be read: those servers exist, and are left alone."""
        found: dict[str, Server] = {}
        there: set[str] = set()
        for part in parts(keys_):
            places = [(keys.servers(user), name) for user, name in map(split_server_key, part)]
            replies = await self._redis.pipeline([("HGET", *place) for place in places])
            records = self._servers.each(replies, places)
            found |= {key: record for key, record in zip(part, records, strict=True) if record is not None}
            there |= {key for key, reply in zip(part, replies, strict=True) if reply is not None}
        return found, frozenset(there - found.keys())

    async def settle(self, key: str, mark: int) -> bool:
        """Take a key off the active list, if nobody marked it again since `active()`."""
        return bool(await self._redis.run(_SETTLE, (keys.SERVERS_ACTIVE,), (key, mark)))

    async def wake(self, key: str) -> None:
        """Tell the controller to look at this server now."""
        await self._redis.call("XADD", keys.SERVERS_WORK, "MAXLEN", "~", WORK_KEPT, "*", "key", key)

    async def work(self, after: str, *, timeout: float) -> tuple[str, list[str]]:  # noqa: ASYNC109
        """Wait up to `timeout` seconds for wake-ups after the given stream position (`"$"`: from now).

        Returns the new position and the keys (de-duplicated, may be empty).
        """
        if after == "$":  # as a fixed place, so that nothing slips through between two calls
            last = await self._redis.call("XREVRANGE", keys.SERVERS_WORK, "+", "-", "COUNT", 1)
            after = last[0][0].decode() if last else "0-0"
        entries = await self._after(keys.SERVERS_WORK, after, WORK_KEPT, timeout)
        if not entries:
            return after, []
        woken = dict.fromkeys(fields[1].decode() for _, fields in entries)
        return entries[-1][0].decode(), list(woken)

    async def events(
        self,
        user: str,
        name: str,
        *,
        after: str = "0",
        timeout: float = 0,  # noqa: ASYNC109
        limit: int = 500,
    ) -> list[Event]:
        """Events after the stream id `after`, oldest first; waits up to `timeout` seconds when there is none.

        An `after` that is no stream id means from the beginning. Events that cannot be read are left out.
        """
        position = after if _STREAM_ID.fullmatch(after) else "0"
        stream = keys.events(user, name)
        while True:
            entries = await self._after(stream, position, limit, timeout)
            ids = [entry.decode() for entry, _ in entries]
            found = self._events.each([fields[1] for _, fields in entries], [(stream, id_) for id_ in ids])
            events = [replace(event, id=id_) for id_, event in zip(ids, found, strict=True) if event is not None]
            if events or not entries:
                return events
            position = ids[-1]

    async def tell(self, user: str, name: str, event: Event) -> str:
        """Append an event without a change of the record; returns its id."""
        entry = await self._redis.call(
            "XADD", keys.events(user, name), "MAXLEN", "~", EVENTS_KEPT, "*", "event", self._events.encode(event)
        )
        return str(entry.decode())

    async def touch(self, seen: Mapping[tuple[str, str], float]) -> None:
        """Note activity: (user, server name) → seconds; the later time wins. Also the user's last_activity.

        A name that no server has (`keys.ACTIVITY_OF_USER`) is the user's alone.
        """
        by_user: dict[str, list[Any]] = {}
        for (user, name), seconds in seen.items():
            by_user.setdefault(user, [keys.ACTIVITY_OF_USER]).extend((name, repr(float(seconds))))
        await self._redis.run_many(
            _TOUCH,
            [((keys.user(user), keys.servers(user), keys.activity(user)), args) for user, args in by_user.items()],
        )

    async def activity(self, user: str) -> dict[str, float]:
        """Last activity per server name."""
        found = await self._redis.call("HGETALL", keys.activity(user))
        seen = {found[at].decode(): float(found[at + 1]) for at in range(0, len(found), 2)}
        seen.pop(keys.ACTIVITY_OF_USER, None)
        return seen

    async def _after(self, stream: str, after: str, limit: int, seconds: float) -> list[Any]:
        """Entries of a stream after an id; waits when there is none."""
        command = ("XREAD", "COUNT", limit)
        found = await self._redis.call(*command, "STREAMS", stream, after)
        if not found and seconds > 0:
            milliseconds = max(1, int(seconds * 1000))
            found = await self._redis.wait(*command, "BLOCK", milliseconds, "STREAMS", stream, after, seconds=seconds)
        return list(found[0][1]) if found else []
