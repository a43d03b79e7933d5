"""Shares of servers, and share codes. Key layout: docs/state.md.

A share is in one place, its owner's hash, which is authoritative. Recipients find their shares through a list of
pointers. A recipient who loses a share is checked again immediately. Does not know what a share may give.
"""

import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from msgspec.structs import replace

from state.errors import ConflictError
from state.names import server_key, split_server_key
from state.records.models import Share, ShareCode, User
from state.redis.client import Redis, Script
from state.store import codecs, keys
from state.store.credentials import digest, listed
from state.store.feed import Feed
from state.store.table import Table

CODE_BYTES: Final = 32

# KEYS: the owner's shares. ARGV: field, JSON as it was read (or nothing), new JSON (nothing: delete it).
_REPLACE: Final = Script("""
local now = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if now ~= ARGV[2] then return redis.error_reply('CONFLICT share') end
if ARGV[3] == '' then return redis.call('HDEL', KEYS[1], ARGV[1]) end
return redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
""")


class Shares:
    """The shares. All methods raise StateUnavailableError if Redis cannot serve requests."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._feed = Feed(redis)
        self._shares = Table(redis, codecs.SHARE)
        self._codes = Table(redis, codecs.SHARE_CODE)

    async def grant(self, share: Share) -> Share:
        """Grant a share, in addition to an existing one. Return it as it is now. Raises BadRecordError."""
        pointer = ("SADD", keys.shared(share.key), server_key(share.owner, share.server))
        await self._redis.call(
            *pointer
        )  # before: a share without a pointer would not be found when its recipient is removed
        granted = await self._change(share, lambda old: share if old is None else _both(old, share))
        await self._redis.call(*pointer)  # and after: a removal between the two would have lost it
        await self._feed.revoke(user=share.key)
        return granted or share

    async def revoke(self, share: Share, scopes: Iterable[str] = ()) -> Share | None:
        """Revoke these scopes (none given: all). Return what is left, or None. Raises BadRecordError."""
        gone = frozenset(scopes)
        left = await self._change(share, lambda old: _without(old, gone))
        if left is None:
            await self._forget(share.key, share.owner, share.server)
        await self._feed.revoke(user=share.key)
        return left

    async def _change(self, share: Share, change: Callable[[Share | None], Share | None]) -> Share | None:
        """Replace the record atomically with the result of `change`.

        `change` is called again if another process was faster.
        """
        key, field = keys.shares(share.owner), _field(share)
        while True:
            raw = await self._redis.call("HGET", key, field)
            changed = change(self._shares.demand(raw, key, field))
            text = b"" if changed is None else self._shares.encode(changed)
            try:
                await self._redis.run(_REPLACE, (key,), (field, raw or b"", text))
            except ConflictError:
                continue
            return changed

    async def of_owner(self, owner: str, server: str | None = None) -> list[Share]:
        """Return the shares of an owner's servers, or of one server, oldest first. Unreadable ones are left out."""
        found = (await self._shares.hash(keys.shares(owner))).values()
        shares = [share for share in found if server is None or share.server == server]
        return sorted(shares, key=lambda share: (share.created, share.server, share.key))

    async def of(self, *recipients: str) -> list[Share]:
        """Return the shares of these recipients (usernames, `group:NAME`), oldest first."""
        pointers = await self._redis.pipeline([("SMEMBERS", keys.shared(key)) for key in recipients])
        found_at = [
            (split_server_key(pointer.decode()), key)
            for key, found in zip(recipients, pointers, strict=True)
            for pointer in found
        ]
        places = [(keys.shares(owner), _place(server, key)) for (owner, server), key in found_at]
        read = await self._shares.entries(places)
        found = [share for share in read if share is not None]
        return sorted(found, key=lambda share: (share.created, share.owner, share.server, share.key))

    async def scopes_of(self, users: Sequence[User]) -> dict[str, list[str]]:
        """Return the scopes that each of these users has through shares. Users without any are left out."""
        recipients = list(dict.fromkeys(key for user in users for key in recipients_of(user)))
        scopes_by_key: dict[str, list[str]] = {}
        for share in await self.of(*recipients) if recipients else ():
            scopes_by_key.setdefault(share.key, []).extend(share.scopes)
        held = {
            user.name: [scope for key in recipients_of(user) for scope in scopes_by_key.get(key, ())] for user in users
        }
        return {name: scopes for name, scopes in held.items() if scopes}

    async def remove_server(self, owner: str, server: str | None = None) -> int:
        """End all shares and codes of a server, or of all servers of an owner. Return the number of shares."""
        for code in await self.codes(owner, server):
            await self.end_code(code)
        return await self.remove_shares(owner, server)

    async def remove_shares(self, owner: str, server: str | None = None) -> int:
        """End all shares of a server, or of all servers of an owner. Return their number. Codes stay valid."""
        fields = [name.decode() for name in await self._redis.call("HKEYS", keys.shares(owner))]
        gone = [name for name in fields if server is None or name.partition("/")[0] == server]
        if gone:
            await self._redis.call("HDEL", keys.shares(owner), *gone)
        recipients = dict.fromkeys(name.partition("/")[2] for name in gone)
        for name in gone:
            of, _, recipient = name.partition("/")
            await self._forget(recipient, owner, of)
        await self._feed.revoke_many(recipients)
        return len(gone)

    async def remove_recipient(self, key: str) -> None:
        """End all shares with a user (by name) or a group (`group:NAME`)."""
        pointers = await self._redis.call("SMEMBERS", keys.shared(key))
        places = [split_server_key(pointer.decode()) for pointer in pointers]
        await self._redis.pipeline([("HDEL", keys.shares(owner), _place(server, key)) for owner, server in places])
        await self._redis.call("DEL", keys.shared(key))
        if places:
            await self._feed.revoke(user=key)

    # --- codes ----------------------------------------------------------------------------------------------
    async def issue_code(self, code: ShareCode) -> str:
        """Store a code and return its secret, which is not stored."""
        secret = secrets.token_urlsafe(CODE_BYTES)
        key = digest(secret)
        await self._redis.call("HSET", keys.share_codes(code.owner), code.id, key)
        record = self._codes.encode(code)
        await self._redis.call("SET", keys.share_code(key), record, "PXAT", int(code.expires * 1000))
        return secret

    async def code(self, secret: str) -> ShareCode | None:
        """Return the code with this secret, or None if it does not exist or has expired."""
        key = keys.share_code(digest(secret))
        return self._codes.one(await self._redis.call("GET", key), key)

    async def used(self, secret: str, code: ShareCode) -> None:
        """Save a code after its use. An ended one stays ended."""
        await self._redis.call("SET", keys.share_code(digest(secret)), self._codes.encode(code), "XX", "KEEPTTL")

    async def has(self, share: Share) -> bool:
        """Return whether this server is shared with this recipient."""
        return bool(await self._redis.call("HEXISTS", keys.shares(share.owner), _field(share)))

    async def count(self, owner: str) -> int:
        """Return the number of shares of all servers of an owner."""
        return int(await self._redis.call("HLEN", keys.shares(owner)))

    async def codes(self, owner: str, server: str | None = None) -> list[ShareCode]:
        """Return the valid codes of an owner's servers, or of one server, oldest first."""
        live = await listed(self._redis, keys.share_codes(owner), keys.share_code, self._codes)
        return [code for code in live if server is None or code.server == server]

    async def end_code(self, code: ShareCode) -> bool:
        """End a code; return False if it did not exist."""
        key = await self._redis.call("HGET", keys.share_codes(code.owner), code.id)
        if key is None:
            return False
        gone = await self._redis.call("DEL", keys.share_code(key.decode()))
        await self._redis.call("HDEL", keys.share_codes(code.owner), code.id)
        return bool(gone)

    async def _forget(self, recipient: str, owner: str, server: str) -> None:
        """Remove a pointer, unless the share exists again."""
        pointer = server_key(owner, server)
        await self._redis.call("SREM", keys.shared(recipient), pointer)
        if await self._redis.call("HEXISTS", keys.shares(owner), _place(server, recipient)):
            await self._redis.call("SADD", keys.shared(recipient), pointer)


def recipients_of(user: User) -> tuple[str, ...]:
    """Return the recipients that stand for a user: the user and their groups."""
    return (user.name, *(f"group:{group}" for group in user.groups))


def _both(old: Share, new: Share) -> Share:
    return replace(old, scopes=tuple(sorted({*old.scopes, *new.scopes})))


def _without(old: Share | None, removed: frozenset[str]) -> Share | None:
    """Return what is left without these scopes (none given: without all), or None."""
    left = tuple(scope for scope in old.scopes if scope not in removed) if old is not None and removed else ()
    return replace(old, scopes=left) if old is not None and left else None


def _field(share: Share) -> str:
    return _place(share.server, share.key)


def _place(server: str, key: str) -> str:
    """Return the field of a share in its owner's hash. Server names contain no slash."""
    return f"{server}/{key}"
