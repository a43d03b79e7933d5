"""Shares of servers, and the codes that can be turned into one. Key layout: docs/state.md.

Owns: that a share is in one place (its owner's hash, which decides), that those it is for find it by a list of
pointers, and that whoever loses one is checked anew at once. Refuses to know what a share may give.
"""

import secrets
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from state.names import server_key, split_server_key
from state.records.models import Share, ShareCode, User
from state.redis.client import Redis, Script
from state.store import keys
from state.store.credentials import digest
from state.store.feed import Feed

CODE_BYTES: Final = 32

# KEYS: the owner's shares. ARGV: field, JSON. The scopes of a share that is there are added to.
_GRANT: Final = Script("""
local now = redis.call('HGET', KEYS[1], ARGV[1])
local share = cjson.decode(ARGV[2])
if now then
  local old = cjson.decode(now)
  local have = {}
  for _, scope in ipairs(share.scopes) do have[scope] = true end
  for _, scope in ipairs(old.scopes) do if not have[scope] then table.insert(share.scopes, scope) end end
  table.sort(share.scopes)
  share.created = old.created
end
local text = cjson.encode(share)
redis.call('HSET', KEYS[1], ARGV[1], text)
return text
""")

# KEYS: the owner's shares. ARGV: field, then the scopes to take away (none: all). Returns what is left, or ''.
_REVOKE: Final = Script("""
local now = redis.call('HGET', KEYS[1], ARGV[1])
if not now then return '' end
local share = cjson.decode(now)
local gone, left = {}, {}
for at = 2, #ARGV do gone[ARGV[at]] = true end
for _, scope in ipairs(share.scopes) do if #ARGV > 1 and not gone[scope] then table.insert(left, scope) end end
if #left == 0 then
  redis.call('HDEL', KEYS[1], ARGV[1])
  return ''
end
share.scopes = left
local text = cjson.encode(share)
redis.call('HSET', KEYS[1], ARGV[1], text)
return text
""")

_ENCODER: Final = msgspec.json.Encoder()
_SHARE: Final = msgspec.json.Decoder(Share)
_CODE: Final = msgspec.json.Decoder(ShareCode)


class Shares:
    """The shares. All verbs raise StateUnavailableError when Redis cannot serve."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._feed = Feed(redis)

    async def grant(self, share: Share) -> Share:
        """Give; what is there already is added to. Returns it as it is now."""
        pointer = ("SADD", keys.shared(share.key), server_key(share.owner, share.server))
        await self._redis.call(*pointer)  # before: nobody has a share that is not found when they are removed
        text = await self._redis.run(_GRANT, (keys.shares(share.owner),), (_field(share), _ENCODER.encode(share)))
        await self._redis.call(*pointer)  # and after: a leave between the two would have lost it
        await self._feed.revoke(user=share.key)
        return _SHARE.decode(text)

    async def revoke(self, share: Share, scopes: Iterable[str] = ()) -> Share | None:
        """Take these scopes away (none named: all). What is left; None: nothing."""
        text = await self._redis.run(_REVOKE, (keys.shares(share.owner),), (_field(share), *scopes))
        if not text:
            await self._forget(share)
        await self._feed.revoke(user=share.key)
        return _SHARE.decode(text) if text else None

    async def of_owner(self, owner: str, server: str | None = None) -> list[Share]:
        """The shares of an owner's servers, or of one server; oldest first."""
        found = [_SHARE.decode(record) for record in await self._redis.call("HVALS", keys.shares(owner))]
        wanted = [share for share in found if server is None or share.server == server]
        return sorted(wanted, key=lambda share: (share.created, share.server, share.key))

    async def of(self, *recipients: str) -> list[Share]:
        """The shares that these (users' names, `group:NAME`) have; oldest first."""
        pointers = await self._redis.pipeline([("SMEMBERS", keys.shared(key)) for key in recipients])
        wanted = [
            (split_server_key(pointer.decode()), key)
            for key, found in zip(recipients, pointers, strict=True)
            for pointer in found
        ]
        commands = [("HGET", keys.shares(owner), _place(server, key)) for (owner, server), key in wanted]
        found = [_SHARE.decode(record) for record in await self._redis.pipeline(commands) if record is not None]
        return sorted(found, key=lambda share: (share.created, share.owner, share.server, share.key))

    async def scopes_of(self, users: Sequence[User]) -> dict[str, list[str]]:
        """What others have given to each of these users and to their groups, as scopes; users without any left out."""
        everybody = list(dict.fromkeys(key for user in users for key in recipients_of(user)))
        given: dict[str, list[str]] = {}
        for share in await self.of(*everybody) if everybody else ():
            given.setdefault(share.key, []).extend(share.scopes)
        held = {user.name: [scope for key in recipients_of(user) for scope in given.get(key, ())] for user in users}
        return {name: scopes for name, scopes in held.items() if scopes}

    async def remove_server(self, owner: str, server: str | None = None) -> int:
        """End all shares and codes of a server, or of all that an owner has; how many shares there were."""
        for code in await self.codes(owner, server):
            await self.end_code(code)
        return await self.remove_shares(owner, server)

    async def remove_shares(self, owner: str, server: str | None = None) -> int:
        """End all shares of a server, or of all that an owner has; how many there were. Codes go on."""
        shares = await self.of_owner(owner, server)
        if shares:
            await self._redis.call("HDEL", keys.shares(owner), *[_field(share) for share in shares])
        for share in shares:
            await self._forget(share)
        await self._feed.revoke_many(dict.fromkeys(share.key for share in shares))
        return len(shares)

    async def remove_recipient(self, key: str) -> None:
        """End all that a user (by name) or a group (`group:NAME`) was given."""
        for share in await self.of(key):
            await self.revoke(share)
        await self._redis.call("DEL", keys.shared(key))

    # --- codes ----------------------------------------------------------------------------------------------
    async def issue_code(self, code: ShareCode) -> str:
        """Store a code and return its secret: the only time that it is known."""
        secret = secrets.token_urlsafe(CODE_BYTES)
        key = digest(secret)
        await self._redis.call("HSET", keys.share_codes(code.owner), code.id, key)
        await self._redis.call("SET", keys.share_code(key), _ENCODER.encode(code), "PXAT", int(code.expires * 1000))
        return secret

    async def code(self, secret: str) -> ShareCode | None:
        """The code of a secret, or None when there is none or it has expired."""
        found = await self._redis.call("GET", keys.share_code(digest(secret)))
        return None if found is None else _CODE.decode(found)

    async def used(self, secret: str, code: ShareCode) -> None:
        """Write a code as it is after it was used; no effect on one that is gone."""
        await self._redis.call("SET", keys.share_code(digest(secret)), _ENCODER.encode(code), "XX", "KEEPTTL")

    async def codes(self, owner: str, server: str | None = None) -> list[ShareCode]:
        """The live codes of an owner's servers, or of one server; oldest first."""
        pairs = await self._redis.call("HGETALL", keys.share_codes(owner))
        found = await self._redis.pipeline([("GET", keys.share_code(key.decode())) for key in pairs[1::2]])
        ended = [entry for entry, record in zip(pairs[0::2], found, strict=True) if record is None]
        if ended:
            await self._redis.call("HDEL", keys.share_codes(owner), *ended)
        live = [_CODE.decode(record) for record in found if record is not None]
        return sorted((one for one in live if server is None or one.server == server), key=lambda one: one.created)

    async def end_code(self, code: ShareCode) -> bool:
        """End a code; False when there was none."""
        key = await self._redis.call("HGET", keys.share_codes(code.owner), code.id)
        if key is None:
            return False
        gone = await self._redis.call("DEL", keys.share_code(key.decode()))
        await self._redis.call("HDEL", keys.share_codes(code.owner), code.id)
        return bool(gone)

    async def _forget(self, share: Share) -> None:
        """Take a pointer away, unless the share has come back in the meantime."""
        pointer = server_key(share.owner, share.server)
        await self._redis.call("SREM", keys.shared(share.key), pointer)
        if await self._redis.call("HEXISTS", keys.shares(share.owner), _field(share)):
            await self._redis.call("SADD", keys.shared(share.key), pointer)


def recipients_of(user: User) -> tuple[str, ...]:
    """By what a user is given shares: themselves, and their groups."""
    return (user.name, *(f"group:{group}" for group in user.groups))


def _field(share: Share) -> str:
    return _place(share.server, share.key)


def _place(server: str, key: str) -> str:
    """The field of a share in its owner's hash. No server's name has a slash."""
    return f"{server}/{key}"
