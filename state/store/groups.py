"""Groups, and the lists of their members. Key layout: docs/state.md, tags `{g:NAME}` and `{groups}`.

Owns the groups' records, and the lists that follow from the users' records (`User.groups` is authoritative). Does not
know what a group may do, or how users become members.

A crash between writing a user's record and a list can leave an extra name in the list, but never an extra right.
"""

from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from state.records.models import Group
from state.redis.client import REVISION_OF, Redis, Script
from state.redis.connection import Command
from state.store import codecs, keys
from state.store.table import Table

# KEYS: group. ARGV: expected revision, JSON.
_SAVE: Final = Script(
    REVISION_OF
    + """
local now = redis.call('GET', KEYS[1])
if not now then return redis.error_reply('CONFLICT revision') end
local revision = revision_of(now)
if not revision then return redis.error_reply('BAD record') end
if revision ~= tonumber(ARGV[1]) then return redis.error_reply('CONFLICT revision') end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""
)


class Groups:
    """The groups. All methods raise StateUnavailableError if Redis cannot serve requests."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._groups = Table(redis, codecs.GROUP)

    async def get(self, name: str) -> Group | None:
        """Return the group, or None. Raises BadRecordError."""
        return self._groups.demand(await self._redis.call("GET", keys.group(name)), keys.group(name))

    async def add(self, group: Group) -> bool:
        """Create a group; return False if the name is taken (nothing is changed). The revision begins at 1."""
        *_, made = await self._redis.pipeline(_making(replace(group, revision=1)))
        return made is not None

    async def save(self, group: Group) -> Group:
        """Compare-and-set by `revision`; return the record with its new revision."""
        saved = replace(group, revision=group.revision + 1)
        await self._redis.run(_SAVE, (keys.group(group.name),), (group.revision, self._groups.encode(saved)))
        return saved

    async def remove(self, name: str) -> bool:
        """Delete the record and the list; return False if there was none. The caller changes the users' records."""
        await self._redis.call("ZREM", keys.GROUPS_NAMES, name)
        gone = await self._redis.call("DEL", keys.group(name))
        await self._redis.call("DEL", keys.members(name))
        return bool(gone)

    async def names(self, *, offset: int = 0, limit: int | None = None) -> list[str]:
        """Return names in alphabetical order."""
        if limit is not None and limit <= 0:
            return []
        last = -1 if limit is None else offset + limit - 1
        return [name.decode() for name in await self._redis.call("ZRANGE", keys.GROUPS_NAMES, offset, last)]

    async def count(self) -> int:
        """Return the number of groups."""
        return int(await self._redis.call("ZCARD", keys.GROUPS_NAMES))

    async def many(self, names: list[str]) -> list[tuple[Group, list[str]]]:
        """Return groups with the names of their members, pipelined.

        Unknown names and unreadable groups are left out.
        """
        commands = [c for name in names for c in (("GET", keys.group(name)), ("SMEMBERS", keys.members(name)))]
        replies = await self._redis.pipeline(commands)
        groups = self._groups.each(replies[0::2], [(keys.group(name), "") for name in names])
        return [
            (group, sorted(member.decode() for member in members))
            for group, members in zip(groups, replies[1::2], strict=True)
            if group is not None
        ]

    async def members(self, *names: str) -> dict[str, list[str]]:
        """Return the members of each of these groups, in alphabetical order."""
        replies = await self._redis.pipeline([("SMEMBERS", keys.members(name)) for name in names])
        return {
            name: sorted(member.decode() for member in members) for name, members in zip(names, replies, strict=True)
        }


async def list_in(redis: Redis, user: str, groups: Iterable[str]) -> None:
    """Add a user to the lists of groups, which are created if missing. Call it before writing the user's record."""
    commands: list[Command] = []
    for name in groups:
        commands += _making(Group(name=name, revision=1))
        commands.append(("SADD", keys.members(name), user))
    await redis.pipeline(commands)


async def list_out(redis: Redis, user: str, groups: Iterable[str]) -> None:
    """Remove a user from the lists of groups. Call it after writing the user's record.

    A user who has joined one again meanwhile is added back.
    """
    left = list(groups)
    if not left:
        return
    await redis.pipeline([("SREM", keys.members(name), user) for name in left])
    record = await redis.call("GET", keys.user(user))
    found = Table(redis, codecs.USER).one(record, keys.user(user))
    back = set(found.groups if found is not None else ()) & set(left)
    await redis.pipeline([("SADD", keys.members(name), user) for name in back])


def _making(group: Group) -> list[Command]:
    """Return the commands that create a group if it does not exist.

    The name comes first, so that every group is listed.
    """
    return [
        ("ZADD", keys.GROUPS_NAMES, 0, group.name),
        ("SET", keys.group(group.name), codecs.GROUP.encode(group), "NX"),
    ]
