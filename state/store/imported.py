"""API tokens that another hub made, of which only its salted hash is known.

Owns: that such a token is listed and revoked like any other, and becomes one of ours when it is used for the first
time: then its secret is there, and its SHA-256 with it. Key layout: docs/state.md, tag `{imported}`. Refuses to know
which hub.

A token's record stands under `imported-ID` in place of a digest, which no secret has. It decides: whoever revokes it,
or its end, takes it away, and then the hash is worth nothing.
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
"""Characters of a token that JupyterHub keeps in clear, to find its hash by."""
ROUNDS_MOST: Final = 1000
"""More would let a stranger keep a worker busy by asking: 1000 rounds of SHA-512 take half a millisecond."""
ALGORITHMS: Final = frozenset({"sha256", "sha384", "sha512"})
SECRET_MAX: Final = 512


class Hashed(Struct, frozen=True):
    """JupyterHub's `algorithm:rounds:salt:hash` of a token (jupyterhub.utils.hash_token), and the token's beginning."""

    algorithm: str
    rounds: int
    salt: str
    value: str
    prefix: str

    @classmethod
    def read(cls, text: str, prefix: str) -> "Hashed":
        """From a row of JupyterHub's that has no `fault`."""
        algorithm, rounds, salt, value = text.split(":")
        return cls(algorithm, int(rounds), salt, value, prefix)

    @staticmethod
    def fault(text: str, prefix: str) -> str:
        """Why this cannot be kept, in words; `""`: it can."""
        parts = text.split(":")
        if len(parts) != 4 or parts[0] not in ALGORITHMS or not parts[1].isdecimal() or len(prefix) != PREFIX:  # noqa: PLR2004 - fields
            return "its hash is of a kind that is not known here"
        if not 1 <= int(parts[1]) <= ROUNDS_MOST:
            return f"it is hashed in {parts[1]} rounds, which is too slow to try at every request"
        return ""

    def fits(self, secret: str) -> bool:
        """Whether this is the hash of that token."""
        made = hashlib.new(self.algorithm, self.salt.encode() + secret.encode() * self.rounds)
        return hmac.compare_digest(made.hexdigest(), self.value)


class _Entry(Stored, frozen=True, kw_only=True):
    """One hash, and whose token it is."""

    owner: str
    id: str
    hashed: Hashed


IMPORTED: Final = Codec(_Entry)


class Imported:
    """The tokens of another hub. All verbs raise StateUnavailableError when Redis cannot serve."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._entries = Table(redis, IMPORTED)
        self._records = Table(redis, codecs.TOKEN)
        self._tokens = Tokens(redis)

    async def keep(self, token: Token, hashed: Hashed) -> bool:
        """Store one; False when it was stored before (see `known`): one that was revoked here stays so."""
        if not await self._redis.call("SADD", keys.IMPORTED_IDS, token.id):
            return False
        entry = IMPORTED.encode(_Entry(owner=token.owner, id=token.id, hashed=hashed))
        await self._redis.call("HSET", keys.imported(hashed.prefix), token.id, entry)
        await self._tokens.keep(token, f"imported-{token.id}")
        return True

    async def known(self, token: Token) -> bool:
        """Whether this one was kept before, used or not, revoked or not."""
        return bool(await self._redis.call("SISMEMBER", keys.IMPORTED_IDS, token.id))

    async def claim(self, secret: str) -> bool:
        """Make the token with this secret one of ours, if it is one of these; whether it was.

        It is asked for every secret that a worker does not know: one look at the hashes with the same beginning.
        """
        if not PREFIX <= len(secret) <= SECRET_MAX:
            return False
        for entry in (await self._entries.hash(keys.imported(secret[:PREFIX]))).values():
            if entry.hashed.fits(secret):
                return await self._take(entry, digest(secret))
        return False

    async def _take(self, entry: _Entry, key: str) -> bool:
        """Whoever takes the record away has it: of two workers one, and none once it was revoked."""
        name = keys.token(f"imported-{entry.id}")
        token = self._records.one(await self._redis.call("GETDEL", name), name)
        if token is not None:
            await self._tokens.keep(token, key)
        await self._redis.call("HDEL", keys.imported(entry.hashed.prefix), entry.id)
        return token is not None
