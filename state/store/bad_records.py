"""The list of unreadable records for admins, and how to repair one.

Each process adds the ones that it finds; the leading controller removes those that can be read again or are gone. Key
layout: docs/state.md, tag `{bad}`.
"""

import re
import time
from typing import Final

import msgspec

from state.records.models import Group, User
from state.redis.client import Redis
from state.redis.damage import BadRecord
from state.store import codecs, keys
from state.store.survey import is_bad, raw_of, type_of

LISTED_MAX: Final = 1000

_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(BadRecord)
_USER: Final = re.compile(r"towpath:\{u:(.*)\}:user", re.DOTALL)
_GROUP: Final = re.compile(r"towpath:\{g:(.*)\}:group", re.DOTALL)


class BadRecords:
    """The list. All methods raise StateUnavailableError if Redis cannot serve requests."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def tell(self) -> None:
        """Add what this process has found since the last call."""
        found = self._redis.damage.take()
        if not found:
            return
        try:
            room = LISTED_MAX - int(await self._redis.call("HLEN", keys.BAD_RECORDS))
            fields = [part for record in found[: max(room, 0)] for part in (record.place, _ENCODER.encode(record))]
            if fields:
                await self._redis.call("HSET", keys.BAD_RECORDS, *fields)
        except BaseException:
            self._redis.damage.put_back(found)
            raise

    async def every(self) -> list[BadRecord]:
        """Return all known unreadable records, newest first."""
        found = []
        for raw in await self._redis.call("HVALS", keys.BAD_RECORDS):
            try:
                found.append(_DECODER.decode(raw))
            except msgspec.DecodeError:
                continue
        return sorted(found, key=lambda record: -record.found)

    async def review(self) -> None:
        """Remove records that can be read again, or are gone."""
        known = await self.every()
        over = [record.place for record in known if not await is_bad(self._redis, record)]
        if over:
            await self._redis.call("HDEL", keys.BAD_RECORDS, *over)

    async def repair(self, record: BadRecord) -> str:
        """Move a record into the hash `aside`. Return a description of what was done.

        Records from a newer version are not touched. A user or group is replaced by a new record with what is known
        from elsewhere, so that nothing that belongs to it is revoked.
        """
        raw = await raw_of(self._redis, record)
        if record.newer:
            return "not touched: a newer version of Towpath wrote it, and can read it"
        if raw is None:
            return "gone in the meantime"
        await self._redis.call("HSET", keys.BAD_ASIDE, record.place, raw)
        done = "moved aside"
        user, group = _USER.fullmatch(record.key), _GROUP.fullmatch(record.key)
        if user is not None:
            groups = await self._groups_of(user[1])
            made = User(name=user[1], groups=groups, created=time.time(), revision=1)
            await self._redis.call("SET", record.key, codecs.USER.encode(made))
            done = "moved aside and replaced: admin rights and the link to an account at a provider are lost"
        elif group is not None:
            await self._redis.call("SET", record.key, codecs.GROUP.encode(Group(name=group[1], revision=1)))
            done = "moved aside and replaced: its properties are lost"
        elif type_of(record.key) == "string":
            await self._redis.call("DEL", record.key)
        elif type_of(record.key) == "hash":
            await self._redis.call("HDEL", record.key, record.field)
        else:
            await self._redis.call("XDEL", record.key, record.field)
        await self._redis.call("HDEL", keys.BAD_RECORDS, record.place)
        return done

    async def _groups_of(self, user: str) -> tuple[str, ...]:
        """Return the groups whose member lists include a user."""
        names = [name.decode() for name in await self._redis.call("ZRANGE", keys.GROUPS_NAMES, 0, -1)]
        listed = await self._redis.pipeline([("SISMEMBER", keys.members(name), user) for name in names])
        return tuple(name for name, member in zip(names, listed, strict=True) if member)
