"""Ways from the hub's own origin into another one: one-time, for a minute. Key layout: docs/state.md, tag `{e:...}`.

Owns: that each is short-lived and taken once. Refuses to know what its fields are checked against.
"""

import secrets
from typing import Final

from state.records.models import Entrance
from state.redis.client import Redis
from state.store import codecs, keys
from state.store.credentials import SECRET_BYTES, digest
from state.store.table import Table

SECONDS: Final = 60


class Entries:
    """All verbs raise StateUnavailableError when Redis cannot serve."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._entrances = Table(redis, codecs.ENTRANCE)

    async def issue(self, entrance: Entrance) -> str:
        """The code that leads in."""
        code = secrets.token_urlsafe(SECRET_BYTES)
        await self._redis.call("SET", keys.entrance(digest(code)), self._entrances.encode(entrance), "EX", SECONDS)
        return code

    async def take(self, code: str) -> Entrance | None:
        """What the code leads to, which is used up by this; None: there is none (any more)."""
        found = await self._redis.call("GETDEL", keys.entrance(digest(code)))
        return self._entrances.one(found, keys.entrance(digest(code)))
