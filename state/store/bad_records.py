"""The list of records that cannot be read, for admins; and what can be done about one.

Each process writes down what it comes across; the leading controller takes off what can be read again or is gone.
Key layout: docs/state.md, tag `{bad}`.
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
    """The list. All verbs raise StateUnavailableError when Redis cannot serve."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def tell(self) -> None:
        """Write down what this process has found since the last call."""
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
        """All that are known, the newest first."""
        found = []
        for raw in await self._redis.call("HVALS", keys.BAD_RECORDS):
            try:
                found.append(_DECODER.decode(raw))
            except msgspec.DecodeError:
                continue
        return sorted(found, key=lambda record: -record.found)

    async def review(self) -> None:
        """Take off the list what can be read again, or is gone."""
        known = await self.every()
        over = [record.place for record in known if not await is_bad(self._redis, record)]
        if over:
            await self._redis.call("HDEL", keys.BAD_RECORDS, *over)

    async def repair(self, record: BadRecord) -> str:
        """Move a record aside, into the hash `aside`; what was done, as a sentence.

        What a newer version wrote is left alone. In place of a user or a group a new record is made, with what is known
        from elsewhere: so that nothing that belongs to them ends.
        """
        raw = await raw_of(self._redis, record)
        if record.newer:
            return "left alone: a newer version of Towpath wrote it, and can read it"
        if raw is None:
            return "gone in the meantime"
        await self._redis.call("HSET", keys.BAD_ASIDE, record.place, raw)
        done = "moved aside"
        user, group = _USER.fullmatch(record.key), _GROUP.fullmatch(record.key)
        if user is not None:
            groups = await self._groups_of(user[1])
            made = User(name=user[1], groups=groups, created=time.time(), revision=1)
            await self._redis.call("SET", record.key, codecs.USER.encode(made))
            done = "moved aside, and made anew: the admin right and the link to an account at a provider are lost"
        elif group is not None:
            await self._redis.call("SET", record.key, codecs.GROUP.encode(Group(name=group[1], revision=1)))
            done = "moved aside, and made anew: its properties are lost"
        elif type_of(record.key) == "string":
            await self._redis.call("DEL", record.key)
        elif type_of(record.key) == "hash":
            await self._redis.call("HDEL", record.key, record.field)
        else:
            await self._redis.call("XDEL", record.key, record.field)
        await self._redis.call("HDEL", keys.BAD_RECORDS, record.place)
        return done

    async def _groups_of(self, user: str) -> tuple[str, ...]:
        """The groups that list a user."""
        names = [name.decode() for name in await self._redis.call("ZRANGE", keys.GROUPS_NAMES, 0, -1)]
        listed = await self._redis.pipeline([("SISMEMBER", keys.members(name), user) for name in names])
        return tuple(name for name, member in zip(names, listed, strict=True) if member)
