"""Secrets and their digests, one-time sign-in links, and functions for the lists of sessions and tokens.

A secret is 256 random bits, URL-safe; only its SHA-256 is stored. Revoking a credential deletes it and publishes a
`revoked` entry in the feed, for the workers' caches. Key layout: docs/state.md, tag `{l:...}`.
"""

import hashlib
import secrets
from collections.abc import AsyncIterator, Callable
from typing import Final, TypeVar

from state.records.models import Session, ShareCode, Token
from state.redis.client import Redis
from state.store import keys
from state.store.table import Table
from state.turns import parts

SECRET_BYTES: Final = 32

Record = TypeVar("Record", Session, ShareCode, Token)


def digest(secret: str) -> str:
    """Return the SHA-256 of a secret in hex: what is stored, and the key of every cache."""
    return hashlib.sha256(secret.encode()).hexdigest()


def milliseconds(seconds: float) -> int:
    """Return whole milliseconds for Redis, at least 1."""
    return max(1, int(seconds * 1000))


class Links:
    """One-time sign-in links. All methods raise StateUnavailableError if Redis cannot serve requests."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def issue(self, user: str, *, lifetime: float) -> str:
        """Return a secret that signs in `user` once, within `lifetime` seconds."""
        secret = secrets.token_urlsafe(SECRET_BYTES)
        await self._redis.call("SET", keys.link(digest(secret)), user, "PX", milliseconds(lifetime))
        return secret

    async def take(self, secret: str) -> str | None:
        """Return the user of a link and invalidate the link; None if it does not exist."""
        found = await self._redis.call("GETDEL", keys.link(digest(secret)))
        return None if found is None else found.decode()


async def pairs(redis: Redis, index: str) -> dict[str, str]:
    """Read a hash of texts in parts, because a user's list of credentials can be long."""
    found: dict[str, str] = {}
    async for flat in redis.fields(index):
        texts = [text.decode() for text in flat]
        found |= zip(texts[0::2], texts[1::2], strict=True)
    return found


async def live(
    redis: Redis, index: str, key_of: Callable[[str], str], table: Table[Record]
) -> AsyncIterator[list[Record]]:
    """Yield the valid records of a user's list in parts. Entries whose record has expired are removed from the list."""
    entries = await pairs(redis, index)
    for part in parts(list(entries.items())):
        names = [key_of(key) for _, key in part]
        found, _ = await redis.values(names)
        ended = [entry for (entry, _), record in zip(part, found, strict=True) if record is None]
        if ended:
            await redis.call("HDEL", index, *ended)
        read = table.each(found, [(name, "") for name in names])
        yield [record for record in read if record is not None]


async def listed(redis: Redis, index: str, key_of: Callable[[str], str], table: Table[Record]) -> list[Record]:
    """Return all records of `live`, oldest first."""
    found = [record async for part in live(redis, index, key_of, table) for record in part]
    return sorted(found, key=lambda record: record.created)
