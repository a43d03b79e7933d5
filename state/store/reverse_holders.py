"""Which workers hold waiting connections of an attempt. Key layout: docs/state.md, tag `{reverse:ATTEMPT}`.

Each worker adds itself for a short time, again and again. Does not know what such a connection is.
"""

from collections.abc import Collection
from typing import Final

import msgspec

from state.records.reverse import Holder
from state.redis.client import Redis
from state.redis.connection import Command
from state.store import keys

_HOLDER: Final = msgspec.json.Decoder(Holder)


class ReverseHolders:
    """All methods raise StateUnavailableError if Redis cannot serve requests. Times are seconds since the epoch."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def hold(self, attempts: Collection[str], holder: Holder, *, until: float, now: float) -> None:
        """Note that a worker holds connections of these attempts, until this time."""
        member, life = msgspec.json.encode(holder), max(1, int((until - now) * 1000))
        commands: list[Command] = []
        for key in map(keys.reverse_holders, attempts):
            commands += (("ZADD", key, until, member), ("ZREMRANGEBYSCORE", key, "-inf", now), ("PEXPIRE", key, life))
        await self._redis.pipeline(commands)

    async def release(self, attempts: Collection[str], holder: Holder) -> None:
        """Note that a worker holds none of these any more."""
        member = msgspec.json.encode(holder)
        await self._redis.pipeline([("ZREM", key, member) for key in map(keys.reverse_holders, attempts)])

    async def find(self, attempt: str, *, now: float) -> list[Holder]:
        """Return the workers that hold connections of an attempt, or held some lately."""
        found = []
        for member in await self._redis.call("ZRANGEBYSCORE", keys.reverse_holders(attempt), now, "+inf"):
            try:
                found.append(_HOLDER.decode(member))
            except msgspec.DecodeError:
                continue
        return found
