"""OAuth authorization codes: each is valid once, for a few minutes.

Owns the single use of a code, and the detection of a second use. Does not know clients or grants. Key layout:
docs/state.md, tag `{oauth:…}`. Only the SHA-256 of a code is stored, as with every credential.
"""

import secrets

from state.records.models import OAuthCode
from state.redis.client import Redis
from state.store import codecs, keys
from state.store.credentials import SECRET_BYTES, digest
from state.store.table import Table


class Codes:
    """All methods raise StateUnavailableError if Redis cannot serve requests."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._codes = Table(redis, codecs.OAUTH_CODE)

    async def issue(self, code: OAuthCode, *, lifetime: float) -> str:
        """Return a new code for this, valid once and for `lifetime` seconds."""
        secret = secrets.token_urlsafe(SECRET_BYTES)
        await self._redis.call("SET", keys.code(digest(secret)), self._codes.encode(code), "PX", int(lifetime * 1000))
        return secret

    async def take(self, secret: str) -> OAuthCode | None:
        """Return what a code was issued for and invalidate the code; None if it does not exist."""
        found = await self._redis.call("GETDEL", keys.code(digest(secret)))
        return self._codes.one(found, keys.code(digest(secret)))

    async def exchanged(self, secret: str, *, user: str, token_id: str, lifetime: float) -> None:
        """Remember for `lifetime` seconds which token the code was exchanged for: see `token_of`."""
        await self._redis.call("SET", keys.spent(digest(secret)), f"{user}/{token_id}", "PX", int(lifetime * 1000))

    async def token_of(self, secret: str) -> tuple[str, str] | None:
        """Return user and id of the token that the code was exchanged for before, or None."""
        found = await self._redis.call("GET", keys.spent(digest(secret)))
        if found is None:
            return None
        user, _, token = found.decode().partition("/")
        return user, token
