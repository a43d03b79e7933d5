"""Users. Key layout: docs/state.md, tags `{u:NAME}` and `{users}`.

Does not know what a user may do. The last activity is stored separately (in `activity`), so that it does not change the
record; the methods here combine the two.
"""

from collections.abc import Sequence
from typing import Any, Final

from msgspec.structs import replace

from state.errors import BadRecordError, ConflictError
from state.names import server_key
from state.records.models import Server, User
from state.redis.client import FIELDS_COUNT, REVISION_OF, Redis, Script
from state.redis.connection import Command
from state.store import codecs, keys
from state.store.feed import Feed
from state.store.groups import list_in, list_out
from state.store.sessions import Sessions
from state.store.shares import Shares
from state.store.table import Table
from state.store.tokens import Tokens
from state.turns import Turns, parts

# KEYS: user. ARGV: expected revision, JSON.
_SAVE: Final = Script(
    REVISION_OF
    + """
local now = redis.call('GET', KEYS[1])
if not now then return redis.error_reply('CONFLICT revision') end
local revision = revision_of(now)
if not revision then return redis.error_reply('BAD record') end
if revision ~= tonumber(ARGV[1]) then return redis.error_reply('CONFLICT revision') end
redis.call('SET', KEYS[1], ARGV[2])
return now
"""
)

Everything = tuple[User, list[Server], dict[str, float]]


class Users:
    """The users. All methods raise StateUnavailableError if Redis cannot serve requests."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._feed = Feed(redis)
        self._users = Table(redis, codecs.USER)
        self._servers = Table(redis, codecs.SERVER)

    async def get(self, name: str) -> User | None:
        """Return the user, or None. Raises BadRecordError."""
        record, seen = await self._redis.pipeline(
            (
                ("GET", keys.user(name)),
                ("HGET", keys.activity(name), keys.ACTIVITY_OF_USER),
            )
        )
        user = self._users.demand(record, keys.user(name))
        return None if user is None else _seen(user, seen)

    async def gather(self, names: list[str]) -> list[User | None]:
        """Return several users, pipelined, in order; None if one does not exist or cannot be read."""
        found: list[User | None] = []
        for part in parts(names):
            activity = [("HGET", keys.activity(name), keys.ACTIVITY_OF_USER) for name in part]
            records, seen = await self._redis.values([keys.user(name) for name in part], activity)
            users = self._users.each(records, [(keys.user(name), "") for name in part])
            found += [None if user is None else _seen(user, at) for user, at in zip(users, seen, strict=True)]
        return found

    async def get_with_servers(self, name: str) -> Everything | None:
        """Return the user, their servers and the last activity per server name, in one round trip; None: no such user.

        Raises BadRecordError if the user's own record cannot be read. Unreadable servers are left out.
        """
        record, servers, activity = await self._redis.pipeline(
            (("GET", keys.user(name)), _first_fields(keys.servers(name)), ("HGETALL", keys.activity(name)))
        )
        user = self._users.demand(record, keys.user(name))
        if user is None:
            return None
        seen = {activity[at].decode(): float(activity[at + 1]) for at in range(0, len(activity), 2)}
        user = _seen(user, seen.pop(keys.ACTIVITY_OF_USER, None))
        return user, await self._by_name(name, servers), seen

    async def _by_name(self, user: str, first: Sequence[Any]) -> list[Server]:
        """Return all servers of a user, by name. `first`: the reply to `_first_fields`, which usually has them all."""
        cursor, flat = first
        if int(cursor):
            found = await self._servers.hash(keys.servers(user))
        else:
            found = self._servers.fields(flat, keys.servers(user))
        return [found[name] for name in sorted(found)]

    async def add(self, user: User) -> bool:
        """Create a user; return False if the name is taken (nothing is changed). The revision begins at 1."""
        listed = ("ZADD", keys.USERS_NAMES, 0, user.name)  # first: every user is listed
        record = self._users.encode(replace(user, revision=1))
        _, made = await self._redis.in_order((listed,), (("SET", keys.user(user.name), record, "NX"),))
        added = made is not None
        if added and user.groups:
            await list_in(self._redis, user.name, user.groups)
            await self._feed.revoke_many(f"group:{name}" for name in user.groups)
        return added

    async def save(self, user: User) -> User:
        """Compare-and-set by `revision`; return the record with its new revision.

        Raises ConflictError, BadRecordError.

        If admin or groups have changed, everything cached about this user, and about users whose rights depend on these
        groups, is checked again everywhere (`Revoked`). Missing groups are created.
        """
        saved = replace(user, revision=user.revision + 1)
        if saved.groups:
            await list_in(self._redis, user.name, saved.groups)
        try:
            before = await self._redis.run(_SAVE, (keys.user(user.name),), (user.revision, self._users.encode(saved)))
        except (ConflictError, BadRecordError):
            await list_out(self._redis, user.name, saved.groups)
            raise
        old = self._users.one(before, keys.user(user.name))
        groups = () if old is None else old.groups
        await list_out(self._redis, user.name, set(groups) - set(saved.groups))
        if old is None or (old.admin, groups) != (saved.admin, saved.groups):
            changed = sorted(set(groups) ^ set(saved.groups))
            await self._feed.revoke_many((user.name, *(f"group:{name}" for name in changed)))
        return saved

    async def remove(self, name: str) -> bool:
        """Delete the user and everything that depends on them; return False if they did not exist.

        Credentials are revoked first, and once more after the record is deleted, because some may have been issued
        meanwhile.
        """
        user = self._users.one(await self._redis.call("GET", keys.user(name)), keys.user(name))
        groups = () if user is None else user.groups
        servers = [server.decode() for server in await self._redis.call("HKEYS", keys.servers(name))]
        await self._end_credentials(name)
        for server in servers:
            await Tokens(self._redis).end_bound(server_key(name, server))
        await self._redis.call("ZREM", keys.USERS_NAMES, name)
        shares = Shares(self._redis)
        await shares.remove_server(name)
        await shares.remove_recipient(name)
        gone = await self._redis.call(
            "DEL",
            keys.user(name),
            keys.servers(name),
            keys.activity(name),
            keys.audit(name),
            keys.standings(name),
            keys.auth_state(name),
            keys.shares(name),
            keys.share_codes(name),
            *[keys.events(name, server) for server in servers],
        )
        await self._end_credentials(name)
        await list_out(self._redis, name, groups)
        await self._feed.revoke_many((name, *(f"group:{group}" for group in groups)))
        return bool(gone)

    async def _end_credentials(self, name: str) -> None:
        await Sessions(self._redis).close_all(name)
        await Tokens(self._redis).revoke_all(name)

    async def names(self, *, offset: int = 0, limit: int | None = None) -> list[str]:
        """Return names in alphabetical order."""
        last = -1 if limit is None else offset + limit - 1
        if limit is not None and limit <= 0:
            return []
        return [name.decode() for name in await self._redis.call("ZRANGE", keys.USERS_NAMES, offset, last)]

    async def names_after(self, last: str, *, limit: int) -> list[str]:
        """Return the next names in alphabetical order; with `last` empty: from the first."""
        start = f"({last}" if last else "-"
        found = await self._redis.call("ZRANGEBYLEX", keys.USERS_NAMES, start, "+", "LIMIT", 0, limit)
        return [name.decode() for name in found]

    async def count(self) -> int:
        """Return the number of users."""
        return int(await self._redis.call("ZCARD", keys.USERS_NAMES))

    async def many(self, names: list[str]) -> list[Everything]:
        """As `get_with_servers` for several names. Unknown and unreadable users are left out.

        One round trip for PART names, and a second one for users with servers.
        """
        return [one for part in parts(names) for one in await self._several(part)]

    async def _several(self, names: Sequence[str]) -> list[Everything]:
        paths = [keys.user(name) for name in names]
        further: list[Command] = [("HLEN", keys.servers(name)) for name in names]
        further += [("HGET", keys.activity(name), keys.ACTIVITY_OF_USER) for name in names]
        records, replies = await self._redis.values(paths, further)
        counts, seen = replies[: len(names)], replies[len(names) :]
        theirs = await self._servers_of([name for name, count in zip(names, counts, strict=True) if count])
        found: list[Everything] = []
        for at, user in enumerate(self._users.each(records, [(path, "") for path in paths])):
            if user is not None:
                servers, activity = theirs.get(user.name, ([], {}))
                found.append((user if seen[at] is None else _seen(user, seen[at]), servers, activity))
        return found

    async def _servers_of(self, owners: Sequence[str]) -> dict[str, tuple[list[Server], dict[str, float]]]:
        """Return the servers and their last activity, for users who have some."""
        commands: list[Command] = [_first_fields(keys.servers(name)) for name in owners]
        commands += [("HGETALL", keys.activity(name)) for name in owners]
        replies = await self._redis.pipeline(commands) if owners else []
        turns = Turns()
        found: dict[str, tuple[list[Server], dict[str, float]]] = {}
        for at, name in enumerate(owners):
            found[name] = await self._by_name(name, replies[at]), _by_server(replies[len(owners) + at])
            await turns.give()
        return found


def _first_fields(key: str) -> Command:
    """Return a command that reads all fields of a small hash."""
    return ("HSCAN", key, 0, "COUNT", FIELDS_COUNT)


def _by_server(activity: Sequence[bytes]) -> dict[str, float]:
    """Return the last activity per server name, without the user's own."""
    seen = {activity[at].decode(): float(activity[at + 1]) for at in range(0, len(activity), 2)}
    seen.pop(keys.ACTIVITY_OF_USER, None)
    return seen


def _seen(user: User, seen: bytes | float | None) -> User:
    """Return the user with the later of the two times of last activity."""
    if seen is None:
        return user
    at = float(seen)
    if user.last_activity is not None and user.last_activity >= at:
        return user
    return replace(user, last_activity=at)
