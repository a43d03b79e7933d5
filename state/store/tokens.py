"""API tokens, their owners, and what they are revoked with. Key layout: docs/state.md, tags `{t:...}` and `{u:NAME}`.

A token is in its owner's list. A token that was issued to a server or a service is also in that one's list (`bound`),
so that everything issued to a server is revoked with it, regardless of its owner. Each list gets the entry before the
record is written and once more after, because revoking all tokens in between would have removed the first entry.
"""

import secrets
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Final

from msgspec.structs import replace

from state.errors import LimitError
from state.records.models import Token
from state.redis.client import Redis, Script
from state.redis.connection import Command
from state.store import codecs, keys
from state.store.credentials import SECRET_BYTES, digest, listed, live, milliseconds, pairs
from state.store.feed import Feed
from state.store.table import Table
from state.turns import parts

# KEYS: the owner's list. ARGV: id, digest, how many there may be.
_LIST: Final = Script("""
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[3]) then
  return redis.error_reply('LIMIT tokens')
end
return redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
""")


class Tokens:
    """The tokens. All methods raise StateUnavailableError if Redis cannot serve requests.

    `owner`: a username, or a service's key. `bound_to`: see `Token`.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._feed = Feed(redis)
        self._tokens = Table(redis, codecs.TOKEN)

    async def issue(self, token: Token, *, limit: int = 0) -> str:
        """Store a new token and return its secret, which is not stored. `limit`: see `keep`."""
        secret = secrets.token_urlsafe(SECRET_BYTES)
        await self.keep(token, digest(secret), limit=limit)
        return secret

    async def keep(self, token: Token, secret_digest: str, *, limit: int = 0) -> None:
        """Store a token with an existing secret, by its digest.

        `limit`: how many tokens the owner may have (0: no limit). For one more of a `client`, the oldest of that client
        are revoked; any other raises LimitError.
        """
        if limit:
            await self._list(token, secret_digest, limit)
        until = () if token.expires is None else ("PXAT", milliseconds(token.expires))
        entries = _entries(token, secret_digest)
        record = ("SET", keys.token(secret_digest), self._tokens.encode(token), *until)
        await self._redis.in_order(entries, (record,), entries)

    async def _list(self, token: Token, secret_digest: str, limit: int) -> None:
        """Add a token to its owner's list if there is room. Raises LimitError."""
        call = (keys.tokens(token.owner),), (token.id, secret_digest, limit)
        try:
            await self._redis.run(_LIST, *call)
        except LimitError:
            live = await self.of_user(token.owner)  # removes expired tokens from the list
            same = [one for one in live if token.client and one.client == token.client]
            for one in same[: len(live) + 1 - limit] if len(live) >= limit else ():
                await self.revoke(token.owner, one.id)
            await self._redis.run(_LIST, *call)

    async def get(self, secret_digest: str) -> Token | None:
        """Return the token of a secret's digest, or None if it does not exist or has expired."""
        found = await self._redis.call("GET", keys.token(secret_digest))
        return self._tokens.one(found, keys.token(secret_digest))

    async def many(self, secret_digests: Sequence[str]) -> list[Token | None]:
        """Return several tokens, pipelined, in order."""
        return await self._tokens.keys([keys.token(key) for key in secret_digests])

    async def of_user(self, owner: str) -> list[Token]:
        """Return all valid tokens of a user or (by its key) a service, oldest first."""
        return await listed(self._redis, keys.tokens(owner), keys.token, self._tokens)

    def parts_of(self, owner: str) -> AsyncIterator[list[Token]]:
        """As `of_user`, in parts and in no order, for callers that do not need all of them at once."""
        return live(self._redis, keys.tokens(owner), keys.token, self._tokens)

    async def page(self, owner: str, *, offset: int, limit: int) -> tuple[list[Token], int]:
        """Return at most `limit` tokens of an owner from `offset` on, oldest first, and their total number."""
        order = sorted([(token.created, token.id) async for part in self.parts_of(owner) for token in part])
        found = [await self.find(owner, token_id) for _, token_id in order[offset : offset + limit]]
        return [token for token in found if token is not None], len(order)

    async def find(self, owner: str, token_id: str) -> Token | None:
        """Return the token with this id, or None."""
        found = await self._redis.call("HGET", keys.tokens(owner), token_id)
        return None if found is None else await self.get(found.decode())

    async def count(self, owner: str) -> int:
        """Return the number of tokens of a user or a service, which may include expired ones."""
        return int(await self._redis.call("HLEN", keys.tokens(owner)))

    async def used(self, secret_digests: dict[str, float]) -> None:
        """Save the last use (digest → seconds) of several tokens. Revoked ones stay revoked."""
        for order in parts(list(secret_digests)):
            commands: list[Command] = []
            for key, token in zip(order, await self.many(order), strict=True):
                at = secret_digests[key]
                if token is not None and (token.last_activity is None or token.last_activity < at):
                    record = self._tokens.encode(replace(token, last_activity=at))
                    commands.append(("SET", keys.token(key), record, "XX", "KEEPTTL"))
            await self._redis.pipeline(commands)

    async def revoke(self, owner: str, token_id: str) -> bool:
        """Revoke a token, and those that were issued under it, everywhere; return False if it did not exist."""
        found = await self._redis.call("HGET", keys.tokens(owner), token_id)
        if found is None:
            return False
        key = found.decode()
        gone = await self._delete(owner, [(token_id, key)])
        issued = await self.end_under(owner, {key})
        await self._feed.revoke(digests=(key, *issued))
        return bool(gone)

    async def revoke_all(self, owner: str) -> int:
        """Revoke all tokens of a user or service; return their number."""
        entries = await pairs(self._redis, keys.tokens(owner))
        gone = await self._delete(owner, list(entries.items()))
        await self._feed.revoke_digests(entries.values())
        return gone

    async def end_bound(self, bound_to: str, *, attempt: str | None = None) -> int:
        """Revoke all tokens that are bound to a server (and this attempt) or a service; return their number."""
        found = await pairs(self._redis, keys.bound(bound_to))
        by_owner: dict[str, list[tuple[str, str]]] = {}
        ended: list[str] = []
        for entry, value in found.items():
            of_attempt, _, key = value.partition(":")
            if attempt is None or of_attempt == attempt:
                owner, _, token_id = entry.rpartition("/")
                by_owner.setdefault(owner, []).append((token_id, key))
                ended.append(entry)
        if not ended:
            return 0
        gone = 0
        digests: list[str] = []
        for owner, tokens in by_owner.items():
            gone += await self._delete(owner, tokens)
            mine = {key for _, key in tokens}
            digests += [*mine, *await self.end_under(owner, mine)]
        await self._redis.pipeline([("HDEL", keys.bound(bound_to), *part) for part in parts(ended)])
        await self._feed.revoke_digests(digests)
        return gone

    async def end_under(self, owner: str, credentials: Collection[str]) -> tuple[str, ...]:
        """Delete the tokens that were issued under these credentials of an owner; return their digests to publish."""
        ended: list[tuple[str, str]] = []
        for part in parts(list((await pairs(self._redis, keys.tokens(owner))).items())):
            tokens = await self.many([key for _, key in part])
            ended += [
                entry
                for entry, token in zip(part, tokens, strict=True)
                if token is not None and token.under in credentials
            ]
        await self._delete(owner, ended)
        return tuple(key for _, key in ended)

    async def drop(self, digests: Sequence[str]) -> None:
        """Delete these records with their entries in lists, and publish that they were revoked."""
        if not digests:
            return
        records = await self._redis.pipeline([("GETDEL", keys.token(key)) for key in digests])
        read = self._tokens.each(records, [(keys.token(key), "") for key in digests])
        tokens = [(key, token) for key, token in zip(digests, read, strict=True) if token is not None]
        listed_ = await self._redis.pipeline([("HGET", keys.tokens(token.owner), token.id) for _, token in tokens])
        commands: list[Command] = []
        for (key, token), entry in zip(tokens, listed_, strict=True):
            if entry == key.encode():
                commands.append(("HDEL", keys.tokens(token.owner), token.id))
                if token.bound_to:
                    commands.append(("HDEL", keys.bound(token.bound_to), f"{token.owner}/{token.id}"))
        await self._redis.pipeline(commands)
        await self._feed.revoke_digests(digests)

    async def _delete(self, owner: str, tokens: Sequence[tuple[str, str]]) -> int:
        """Delete (id, digest) pairs of an owner: the records, then their entries. Return the number of records."""
        return sum([await self._delete_part(owner, part) for part in parts(tokens)])

    async def _delete_part(self, owner: str, tokens: Sequence[tuple[str, str]]) -> int:
        records = await self._redis.pipeline([("GETDEL", keys.token(key)) for _, key in tokens])
        commands: list[Command] = [("HDEL", keys.tokens(owner), *(token_id for token_id, _ in tokens))]
        commands += [
            ("HDEL", keys.bound(token.bound_to), f"{owner}/{token.id}")
            for token in self._tokens.each(records, [(keys.token(key), "") for _, key in tokens])
            if token is not None and token.bound_to
        ]
        await self._redis.pipeline(commands)
        return sum(record is not None for record in records)


def _entries(token: Token, key: str) -> list[Command]:
    entries: list[Command] = [("HSET", keys.tokens(token.owner), token.id, key)]
    if token.bound_to:
        entries.append(("HSET", keys.bound(token.bound_to), f"{token.owner}/{token.id}", f"{token.attempt}:{key}"))
    return entries
