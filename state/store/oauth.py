"""OAuth authorisation codes: each is good once, for a few minutes.

Owns: that a code is used up by whoever takes it first, and what a second use is told. Refuses to know clients and
grants. Key layout: docs/state.md, tag `{oauth:…}`. As with every credential, only the SHA-256 of a code is stored.
"""

import secrets

from state.records.models import OAuthCode
from state.redis.client import Redis
from state.store import codecs, keys
from state.store.credentials import SECRET_BYTES, digest
from state.store.table import Table


class Codes:
    """All verbs raise StateUnavailableError when Redis cannot serve."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._codes = Table(redis, codecs.OAUTH_CODE)

    async def issue(self, code: OAuthCode, *, lifetime: float) -> str:
        """A new code that stands for this, good once and for `lifetime` seconds."""
        secret = secrets.token_urlsafe(SECRET_BYTES)
        await self._redis.call("SET", keys.code(digest(secret)), self._codes.encode(code), "PX", int(lifetime * 1000))
        return secret

    async def take(self, secret: str) -> OAuthCode | None:
        """What a code stands for, and nobody gets it again; None: there is none (any more)."""
        found = await self._redis.call("GETDEL", keys.code(digest(secret)))
        return self._codes.one(found, keys.code(digest(secret)))

    async def exchanged(self, secret: str, *, user: str, token_id: str, lifetime: float) -> None:
        """Remember for `lifetime` seconds which token was given for it: see `token_of`."""
        await self._redis.call("SET", keys.spent(digest(secret)), f"{user}/{token_id}", "PX", int(lifetime * 1000))

    async def token_of(self, secret: str) -> tuple[str, str] | None:
        """User and id of the token that was given for a code before; None: none was."""
        found = await self._redis.call("GET", keys.spent(digest(secret)))
        if found is None:
            return None
        user, _, token = found.decode().partition("/")
        return user, token
