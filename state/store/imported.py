"""API tokens from another hub, of which only the salted hash is known.

Such a token is listed and revoked like any other. It becomes a normal token at its first use, which provides its secret
and therefore its SHA-256. Key layout: docs/state.md, tag `{imported}`. Does not know the other hub.

The token's record has the key `imported-ID` instead of a digest, which no secret can have. The record is authoritative:
when it is revoked or expires, the hash is worthless.
"""

import hashlib
import hmac
from typing import Final

from msgspec import Struct

from state.records.codec import Codec
from state.records.models import Token
from state.records.stored import Stored
from state.redis.client import Redis
from state.store import codecs, keys
from state.store.credentials import digest
from state.store.table import Table
from state.store.tokens import Tokens

PREFIX: Final = 4
"""Characters of a token that JupyterHub stores in plain text, to find its hash."""
ROUNDS_MOST: Final = 1000
"""More would let an attacker keep a worker busy: 1000 rounds of SHA-512 take half a millisecond."""
ALGORITHMS: Final = frozenset({"sha256", "sha384", "sha512"})
SECRET_MAX: Final = 512


class Hashed(Struct, frozen=True):
    """JupyterHub's `algorithm:rounds:salt:hash` of a token (jupyterhub.utils.hash_token), and its first characters."""

    algorithm: str
    rounds: int
    salt: str
    value: str
    prefix: str

    @classmethod
    def read(cls, text: str, prefix: str) -> "Hashed":
        """Parse a value from JupyterHub's database for which `fault` returns `""`."""
        algorithm, rounds, salt, value = text.split(":")
        return cls(algorithm, int(rounds), salt, value, prefix)

    @staticmethod
    def fault(text: str, prefix: str) -> str:
        """Return a message on why this hash cannot be imported; `""` if it can."""
        parts = text.split(":")
        if len(parts) != 4 or parts[0] not in ALGORITHMS or not parts[1].isdecimal() or len(prefix) != PREFIX:  # noqa: PLR2004 - fields
            return "its hash has an unknown format"
        if not 1 <= int(parts[1]) <= ROUNDS_MOST:
            return f"it is hashed in {parts[1]} rounds, which is too slow to check at every request"
        return ""

    def fits(self, secret: str) -> bool:
        """Return whether this is the hash of that token."""
        made = hashlib.new(self.algorithm, self.salt.encode() + secret.encode() * self.rounds)
        return hmac.compare_digest(made.hexdigest(), self.value)


class _Entry(Stored, frozen=True, kw_only=True):
    """One hash, and the owner of its token."""

    owner: str
    id: str
    hashed: Hashed


IMPORTED: Final = Codec(_Entry)


class Imported:
    """The tokens of another hub. All methods raise StateUnavailableError if Redis cannot serve requests."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._entries = Table(redis, IMPORTED)
        self._records = Table(redis, codecs.TOKEN)
        self._tokens = Tokens(redis)

    async def keep(self, token: Token, hashed: Hashed) -> bool:
        """Store a token; return False if it was stored before (see `known`). A revoked one stays revoked."""
        if not await self._redis.call("SADD", keys.IMPORTED_IDS, token.id):
            return False
        entry = IMPORTED.encode(_Entry(owner=token.owner, id=token.id, hashed=hashed))
        await self._redis.call("HSET", keys.imported(hashed.prefix), token.id, entry)
        await self._tokens.keep(token, f"imported-{token.id}")
        return True

    async def known(self, token: Token) -> bool:
        """Return whether this token was stored before, whether or not it was used or revoked since."""
        return bool(await self._redis.call("SISMEMBER", keys.IMPORTED_IDS, token.id))

    async def claim(self, secret: str) -> bool:
        """Convert the token with this secret into a normal one; return whether there was one.

        It is called for every secret that a worker does not know, and reads the hashes with the same first characters.
        """
        if not PREFIX <= len(secret) <= SECRET_MAX:
            return False
        for entry in (await self._entries.hash(keys.imported(secret[:PREFIX]))).values():
            if entry.hashed.fits(secret):
                return await self._take(entry, digest(secret))
        return False

    async def _take(self, entry: _Entry, key: str) -> bool:
        """Take the record, which only one worker can do, and none if the token was revoked."""
        name = keys.token(f"imported-{entry.id}")
        token = self._records.one(await self._redis.call("GETDEL", name), name)
        if token is not None:
            await self._tokens.keep(token, key)
        await self._redis.call("HDEL", keys.imported(entry.hashed.prefix), entry.id)
        return token is not None
