"""Secrets and their digests, one-time sign-in links, and what the lists of sessions and of tokens have in common.

A secret is 256 random bits, URL-safe; only its SHA-256 is stored. Revoking a credential deletes it and publishes a
`revoked` entry in the feed, for the workers' caches. Key layout: docs/state.md, tag `{l:...}`.
"""

import hashlib
import secrets
from collections.abc import Callable
from typing import Final, TypeVar

from state.records.models import Session, Token
from state.redis.client import Redis
from state.store import keys
from state.store.table import Table

SECRET_BYTES: Final = 32

Record = TypeVar("Record", Session, Token)


def digest(secret: str) -> str:
    """SHA-256 of a secret, in hex: what is stored, and the key of every cache."""
    return hashlib.sha256(secret.encode()).hexdigest()


def milliseconds(seconds: float) -> int:
    """Whole milliseconds for Redis, at least 1."""
    return max(1, int(seconds * 1000))


class Links:
    """One-time sign-in links. All verbs raise StateUnavailableError when Redis cannot serve."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def issue(self, user: str, *, lifetime: float) -> str:
        """A secret that signs `user` in once, within `lifetime` seconds."""
        secret = secrets.token_urlsafe(SECRET_BYTES)
        await self._redis.call("SET", keys.link(digest(secret)), user, "PX", milliseconds(lifetime))
        return secret

    async def take(self, secret: str) -> str | None:
        """The user of a link, which is used up by this; None when there is none."""
        found = await self._redis.call("GETDEL", keys.link(digest(secret)))
        return None if found is None else found.decode()


async def listed(redis: Redis, index: str, key_of: Callable[[str], str], table: Table[Record]) -> list[Record]:
    """The live records of a user's list, oldest first; entries whose record has ended are removed from the list."""
    pairs = await redis.call("HGETALL", index)
    names = [key_of(key.decode()) for key in pairs[1::2]]
    found = await redis.pipeline([("GET", name) for name in names])
    ended = [entry for entry, record in zip(pairs[0::2], found, strict=True) if record is None]
    if ended:
        await redis.call("HDEL", index, *ended)
    live = table.each(found, [(name, "") for name in names])
    return sorted((one for one in live if one is not None), key=lambda record: record.created)
