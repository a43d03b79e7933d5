"""Servers: their records, events and activity, and the list of those that need work.

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

# KEYS: user, servers, activity. ARGV: field of the user, then pairs of server name and seconds.
# Activity creates neither a user nor a server.
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
    """The servers. All methods raise StateUnavailableError if Redis cannot serve requests."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._tokens = Tokens(redis)
        self._feed = Feed(redis)
        self._servers = Table(redis, codecs.SERVER)
        self._events = Table(redis, codecs.EVENT)

    async def get(self, user: str, name: str) -> Server | None:
        """Return the record, or None. Raises BadRecordError."""
        found = await self._redis.call("HGET", keys.servers(user), name)
        return self._servers.demand(found, keys.servers(user), name)

    async def of_user(self, user: str) -> list[Server]:
        """Return all servers of one user, by name. Unreadable ones are left out."""
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
        """Compare-and-set by `revision` (0: it must not exist), with its event, atomically.

        Returns the record with its new revision (and fence). If the controller has something to do (`server.active` or
        `server.removing`), marks the server before and wakes the controller after. The tokens of an attempt that has
        ended are revoked. `fence` is the caller's fencing token (0: not a write of a leader). Raises ConflictError,
        BadRecordError, or FencedError if the record has seen a higher token.

        `limit`: how many named servers the user may have (0: no limit); one more raises LimitError.

        `marked`: the replaced record was active, so that its mark exists. `wake` False: the caller is the controller,
        and checks again itself. Each saves a write and a round trip.
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
        """Delete the record (compare-and-set by `revision`) and everything that depends on the server.

        Raises ConflictError, BadRecordError.

        This includes its events and activity, the tokens that were issued to it, its shares and its share codes. The
        caller removes the route.
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
        """Revoke what must not outlive a server: the tokens that were issued to it, its shares and its share codes."""
        await self._tokens.end_bound(server_key(user, name))
        await Shares(self._redis).remove_server(user, name)

    async def settled(self, user: str, name: str) -> bool:
        """Return whether the controller has nothing left to do for a server."""
        return await self._redis.call("ZSCORE", keys.SERVERS_ACTIVE, server_key(user, name)) is None

    async def active(self) -> dict[str, int]:
        """Return the key of every server that may need work, with its mark."""
        found = await self._redis.call("ZRANGE", keys.SERVERS_ACTIVE, 0, -1, "WITHSCORES")
        return {found[at].decode(): int(float(found[at + 1])) for at in range(0, len(found), 2)}

    async def many(self, keys_: Sequence[str]) -> dict[str, Server]:
        """Return the records with these keys, pipelined. Missing and unreadable ones are left out."""
        return (await self.read(keys_))[0]

    async def read(self, keys_: Sequence[str]) -> tuple[dict[str, Server], frozenset[str]]:
        """As `many`, and the keys of unreadable records: those servers exist, and must not be touched."""
        found: dict[str, Server] = {}
        existing: set[str] = set()
        for part in parts(keys_):
            places = [(keys.servers(user), name) for user, name in map(split_server_key, part)]
            replies = await self._redis.pipeline([("HGET", *place) for place in places])
            records = self._servers.each(replies, places)
            found |= {key: record for key, record in zip(part, records, strict=True) if record is not None}
            existing |= {key for key, reply in zip(part, replies, strict=True) if reply is not None}
        return found, frozenset(existing - found.keys())

    async def settle(self, key: str, mark: int) -> bool:
        """Remove a key from the active list, unless it was marked again since `active()`."""
        return bool(await self._redis.run(_SETTLE, (keys.SERVERS_ACTIVE,), (key, mark)))

    async def wake(self, key: str) -> None:
        """Wake the controller for this server."""
        await self._redis.call("XADD", keys.SERVERS_WORK, "MAXLEN", "~", WORK_KEPT, "*", "key", key)

    async def work(self, after: str, *, timeout: float) -> tuple[str, list[str]]:  # noqa: ASYNC109
        """Wait up to `timeout` seconds for wake-ups after a stream position (`"$"`: from now).

        Returns the new position and the keys (without duplicates, may be empty).
        """
        if after == "$":  # a fixed position, so that nothing is missed between two calls
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
        """Return the events after the stream id `after`, oldest first; waits up to `timeout` seconds if there are none.

        An invalid stream id means from the beginning. Unreadable events are left out.
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
        """Append an event without changing the record; return its id."""
        entry = await self._redis.call(
            "XADD", keys.events(user, name), "MAXLEN", "~", EVENTS_KEPT, "*", "event", self._events.encode(event)
        )
        return str(entry.decode())

    async def touch(self, seen: Mapping[tuple[str, str], float]) -> None:
        """Record activity: (user, server name) → seconds. The latest time counts, also for the user's last_activity.

        With `keys.ACTIVITY_OF_USER` as the name, only the user's is set.
        """
        by_user: dict[str, list[str]] = {}
        for (user, name), seconds in seen.items():
            by_user.setdefault(user, [keys.ACTIVITY_OF_USER]).extend((name, repr(float(seconds))))
        await self._redis.run_many(
            _TOUCH,
            [((keys.user(user), keys.servers(user), keys.activity(user)), args) for user, args in by_user.items()],
        )

    async def activity(self, user: str) -> dict[str, float]:
        """Return the last activity per server name."""
        found = await self._redis.call("HGETALL", keys.activity(user))
        seen = {found[at].decode(): float(found[at + 1]) for at in range(0, len(found), 2)}
        seen.pop(keys.ACTIVITY_OF_USER, None)
        return seen

    async def _after(self, stream: str, after: str, limit: int, seconds: float) -> list[Any]:
        """Return the entries of a stream after an id; waits if there are none."""
        command = ("XREAD", "COUNT", limit)
        found = await self._redis.call(*command, "STREAMS", stream, after)
        if not found and seconds > 0:
            milliseconds = max(1, int(seconds * 1000))
            found = await self._redis.wait(*command, "BLOCK", milliseconds, "STREAMS", stream, after, seconds=seconds)
        return list(found[0][1]) if found else []
