"""Groups, and the lists of who is in them. Key layout: docs/state.md, tags `{g:NAME}` and `{groups}`.

Owns: the groups' records, and the lists that follow from the users' records (`User.groups` is what decides).
Refuses to know what a group may do, and how somebody came into it.

A crash between a user's record and a list leaves a name too many in the list, never a right too many.
"""

from collections.abc import Iterable
from typing import Any, Final

from msgspec.structs import replace

from state.records.models import Group
from state.redis.client import REVISION_OF, Redis, Script
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
    """The groups. All verbs raise StateUnavailableError when Redis cannot serve."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._groups = Table(redis, codecs.GROUP)

    async def get(self, name: str) -> Group | None:
        """The group, or None. Raises BadRecordError."""
        return self._groups.demand(await self._redis.call("GET", keys.group(name)), keys.group(name))

    async def add(self, group: Group) -> bool:
        """Create; False when the name is taken (nothing is changed). The revision begins at 1."""
        *_, made = await self._redis.pipeline(_making(replace(group, revision=1)))
        return made is not None

    async def save(self, group: Group) -> Group:
        """Compare-and-set by `revision`; the record with its new revision.

        Raises ConflictError, BadRecordError.
        """
        saved = replace(group, revision=group.revision + 1)
        await self._redis.run(_SAVE, (keys.group(group.name),), (group.revision, self._groups.encode(saved)))
        return saved

    async def remove(self, name: str) -> bool:
        """Delete the record and the list; False when there was none. The users' records are the caller's to change."""
        await self._redis.call("ZREM", keys.GROUPS_NAMES, name)
        gone = await self._redis.call("DEL", keys.group(name))
        await self._redis.call("DEL", keys.members(name))
        return bool(gone)

    async def names(self, *, offset: int = 0, limit: int | None = None) -> list[str]:
        """Names in alphabetical order."""
        if limit is not None and limit <= 0:
            return []
        last = -1 if limit is None else offset + limit - 1
        return [name.decode() for name in await self._redis.call("ZRANGE", keys.GROUPS_NAMES, offset, last)]

    async def count(self) -> int:
        """How many groups there are."""
        return int(await self._redis.call("ZCARD", keys.GROUPS_NAMES))

    async def many(self, names: list[str]) -> list[tuple[Group, list[str]]]:
        """Groups with the names of who is in them, pipelined.

        Unknown names are left out, and groups whose record cannot be read.
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
        """Who is in each of these groups, in alphabetical order."""
        replies = await self._redis.pipeline([("SMEMBERS", keys.members(name)) for name in names])
        return {
            name: sorted(member.decode() for member in members) for name, members in zip(names, replies, strict=True)
        }


async def list_in(redis: Redis, user: str, groups: Iterable[str]) -> None:
    """Put a user into the lists of groups, which are made where there are none. Before the user's record is written."""
    commands: list[tuple[Any, ...]] = []
    for name in groups:
        commands += _making(Group(name=name, revision=1))
        commands.append(("SADD", keys.members(name), user))
    await redis.pipeline(commands)


async def list_out(redis: Redis, user: str, groups: Iterable[str]) -> None:
    """Take a user out of the lists of groups. After the user's record is written.

    Who has come back into one in the meantime is put back.
    """
    left = list(groups)
    if not left:
        return
    await redis.pipeline([("SREM", keys.members(name), user) for name in left])
    record = await redis.call("GET", keys.user(user))
    found = Table(redis, codecs.USER).one(record, keys.user(user))
    back = set(found.groups if found is not None else ()) & set(left)
    await redis.pipeline([("SADD", keys.members(name), user) for name in back])


def _making(group: Group) -> list[tuple[Any, ...]]:
    """A group, if there is none of this name. Its name first: no group is unlisted."""
    return [
        ("ZADD", keys.GROUPS_NAMES, 0, group.name),
        ("SET", keys.group(group.name), codecs.GROUP.encode(group), "NX"),
    ]
