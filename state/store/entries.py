"""One-time entries from the hub's own origin into another one, valid for a minute.

Owns their lifetime and single use. Does not know what their fields are checked against. Key layout: docs/state.md, tag
`{e:...}`.
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
    """All methods raise StateUnavailableError if Redis cannot serve requests."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._entrances = Table(redis, codecs.ENTRANCE)

    async def issue(self, entrance: Entrance) -> str:
        """Return a code for this entry."""
        code = secrets.token_urlsafe(SECRET_BYTES)
        await self._redis.call("SET", keys.entrance(digest(code)), self._entrances.encode(entrance), "EX", SECONDS)
        return code

    async def take(self, code: str) -> Entrance | None:
        """Return the entry of a code and invalidate it; None if it does not exist."""
        found = await self._redis.call("GETDEL", keys.entrance(digest(code)))
        return self._entrances.one(found, keys.entrance(digest(code)))
