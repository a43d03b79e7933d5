"""Orphans: what remains of a user, server, group or service that no longer exists, and must not outlive it.

Every method that removes something also removes what depends on it. A process that is killed in between, or a request
that overlaps with a removal, can still leave something behind: a token that would be valid again for the next user with
that name, or a share of a server that is created later. A sweep reads every key of the hub and removes such remains.

Something that depends on a record is compared with that record, and only if it is older than YOUNG_SECONDS, because it
may belong to something that is being created.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from msgspec.structs import replace

from state.errors import ConflictError
from state.names import server_key
from state.records.models import Server, Share, ShareCode, Target, Token
from state.redis.client import Redis
from state.redis.connection import Command
from state.store import codecs, keys
from state.store.servers import Servers
from state.store.sessions import Sessions
from state.store.shares import Shares
from state.store.table import Table
from state.store.tokens import Tokens

YOUNG_SECONDS: Final = 120.0
SERVICE: Final = "service:"
GROUP: Final = "group:"

_OF_OWNER: Final = re.compile(
    r"towpath:\{u:(.*)\}:(servers|tokens|sessions|standings|auth-state|activity|shares|share-codes|shared|bound|events)(?::(.*))?",
    re.DOTALL,
)
_OF_DIGEST: Final = re.compile(r"towpath:\{[tsc]:([^}]*)\}:(token|session|share-code)")


class Orphans:
    """The sweep. All methods raise StateUnavailableError if Redis cannot serve requests."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def sweep(self, *, services: Collection[str], now: float) -> Counter[str]:
        """Read every key once and remove orphans; return their number by kind.

        `services`: the names of the configured services, which are not in the store. `now`: seconds since the epoch.
        """
        swept: Counter[str] = Counter()
        one = _Sweep(self._redis, frozenset(services), now - YOUNG_SECONDS)
        async for names in self._redis.scan("towpath:{*"):
            swept += await one.of_owners(found for name in names if (found := _OF_OWNER.fullmatch(name)))
            swept += await one.of_digests(found for name in names if (found := _OF_DIGEST.fullmatch(name)))
        return swept


class _Sweep:
    """One sweep. `before`: anything created later is not touched."""

    def __init__(self, redis: Redis, services: frozenset[str], before: float) -> None:
        self._redis = redis
        self._services = services
        self._before = before
        self._tokens = Tokens(redis)
        self._sessions = Sessions(redis)
        self._shares = Shares(redis)
        self._servers = Servers(redis)

    async def of_owners(self, names: Iterable[re.Match[str]]) -> Counter[str]:
        """Check the keys with the name of a user, a service or a group."""
        swept: Counter[str] = Counter()
        found = [(str(name[1]), str(name[2]), str(name[3] or "")) for name in names]
        existing = await self._existing({owner for owner, _, _ in found})
        for owner, kind, server in found:
            if owner not in existing:
                swept[kind] += await self._of_missing(owner, kind, server)
            elif kind == "shares":
                swept[kind] += await self._of_shares(owner)
            elif kind == "events" and not await self._redis.call("HEXISTS", keys.servers(owner), server):
                swept[kind] += int(await self._redis.call("DEL", keys.events(owner, server)))
            elif kind == "bound":
                await self._forget_ended(_bound_to(owner, server))
        return swept

    async def _of_missing(self, owner: str, kind: str, server: str) -> int:
        """Remove what has the name of a missing owner; return the number of orphans."""
        if kind == "tokens":
            return await self._tokens.revoke_all(owner)
        if kind == "sessions":
            return await self._sessions.close_all(owner)
        if kind in {"shares", "share-codes"}:
            return len(await self._shares.codes(owner)) + await self._shares.remove_server(owner)
        if kind == "bound":
            return await self._tokens.end_bound(_bound_to(owner, server))
        if kind == "servers":
            return sum([await self._stop(record) for record in await self._servers.of_user(owner)])
        plain = {
            "standings": keys.standings,
            "auth-state": keys.auth_state,
            "activity": keys.activity,
            "shared": keys.shared,
        }
        key = keys.events(owner, server) if kind == "events" else plain[kind](owner)
        return int(await self._redis.call("DEL", key))

    async def _stop(self, server: Server) -> bool:
        """Remove a server of a missing user. The controller stops it first if it is running."""
        try:
            if server.active:
                await self._servers.save(replace(server, target=Target.STOPPED, removing=True))
            elif await self._servers.settled(server.user, server.name):
                await self._servers.remove(server)
        except ConflictError:  # the record has changed; the next sweep tries again
            return False
        return True

    async def _of_shares(self, owner: str) -> int:
        """Remove shares of missing servers, and shares with missing users or groups."""
        shares = [share for share in await self._shares.of_owner(owner) if share.created < self._before]
        recipients = await self._existing({share.key for share in shares})
        servers, bad = await self._servers.read(
            [server_key(owner, name) for name in {share.server for share in shares} if name]
        )
        existing = bad | servers.keys()
        orphaned = [share for share in shares if share.key not in recipients or _is_astray(share, existing)]
        for share in orphaned:
            await self._shares.revoke(share)
        return len(orphaned)

    async def _forget_ended(self, bound_to: str) -> None:
        """Remove expired tokens from the list of a server or a service."""
        pairs = await self._redis.call("HGETALL", keys.bound(bound_to))
        digests = [value.decode().partition(":")[2] for value in pairs[1::2]]
        existing = await self._redis.pipeline([("EXISTS", keys.token(key)) for key in digests])
        ended = [entry for entry, exists in zip(pairs[0::2], existing, strict=True) if not exists]
        if ended:
            await self._redis.call("HDEL", keys.bound(bound_to), *ended)

    async def of_digests(self, names: Iterable[re.Match[str]]) -> Counter[str]:
        """Check credentials, whose keys have their digests."""
        found = [(str(name[1]), str(name[2])) for name in names]
        return Counter(
            {
                "token": await self._of_tokens([key for key, kind in found if kind == "token"]),
                "session": await self._of_sessions([key for key, kind in found if kind == "session"]),
                "share-code": await self._of_codes([key for key, kind in found if kind == "share-code"]),
            }
        )

    async def _of_tokens(self, digests: Sequence[str]) -> int:
        records = await self._redis.pipeline([("GET", keys.token(key)) for key in digests])
        read = Table(self._redis, codecs.TOKEN).each(records, [(keys.token(key), "") for key in digests])
        tokens = [(key, token) for key, token in zip(digests, read, strict=True) if token is not None]
        old = [(key, token) for key, token in tokens if token.created < self._before]
        existing = await self._existing({token.owner for _, token in old} | _services_of(token for _, token in old))
        listed = await self._redis.pipeline([("HGET", keys.tokens(token.owner), token.id) for _, token in old])
        servers, bad = await self._servers.read(sorted({token.bound_to for _, token in old if "/" in token.bound_to}))
        orphaned = [
            key
            for (key, token), entry in zip(old, listed, strict=True)
            if token.owner not in existing
            or entry != key.encode()
            or (token.bound_to.startswith(SERVICE) and token.bound_to not in existing)
            or (token.bound_to not in bad and not _is_live(token, servers.get(token.bound_to)))
        ]
        await self._tokens.drop(orphaned)
        return len(orphaned)

    async def _of_sessions(self, digests: Sequence[str]) -> int:
        records = await self._redis.pipeline([("GET", keys.session(key)) for key in digests])
        read = Table(self._redis, codecs.SESSION).each(records, [(keys.session(key), "") for key in digests])
        sessions = [(key, session) for key, session in zip(digests, read, strict=True) if session is not None]
        old = [(key, session) for key, session in sessions if session.created < self._before]
        existing = await self._existing({session.user for _, session in old})
        listed = await self._redis.pipeline([("HGET", keys.sessions(session.user), session.id) for _, session in old])
        orphaned = [
            key
            for (key, session), entry in zip(old, listed, strict=True)
            if session.user not in existing or entry != key.encode()
        ]
        for key in orphaned:
            await self._sessions.close(key)
        return len(orphaned)

    async def _of_codes(self, digests: Sequence[str]) -> int:
        records = await self._redis.pipeline([("GET", keys.share_code(key)) for key in digests])
        read = Table(self._redis, codecs.SHARE_CODE).each(records, [(keys.share_code(key), "") for key in digests])
        codes = [(key, code) for key, code in zip(digests, read, strict=True) if code is not None]
        old = [(key, code) for key, code in codes if code.created < self._before]
        existing = await self._existing({code.owner for _, code in old})
        listed = await self._redis.pipeline([("HGET", keys.share_codes(code.owner), code.id) for _, code in old])
        servers, bad = await self._servers.read([server_key(code.owner, code.server) for _, code in old if code.server])
        orphaned = [
            (key, code)
            for (key, code), entry in zip(old, listed, strict=True)
            if code.owner not in existing or entry != key.encode() or _is_astray(code, bad | servers.keys())
        ]
        for key, code in orphaned:
            await self._redis.call("DEL", keys.share_code(key))
            if await self._redis.call("HGET", keys.share_codes(code.owner), code.id) == key.encode():
                await self._redis.call("HDEL", keys.share_codes(code.owner), code.id)
        return len(orphaned)

    async def _existing(self, names: Collection[str]) -> set[str]:
        """Return which of these users (by name), services (`service:NAME`) and groups (`group:NAME`) exist."""
        order = sorted(names)
        found = await self._redis.pipeline([_whether_exists(name) for name in order])
        configured = {name for name in order if name.removeprefix(SERVICE) in self._services and SERVICE in name}
        return configured | {name for name, exists in zip(order, found, strict=True) if exists}


def _bound_to(owner: str, server: str) -> str:
    return owner if owner.startswith(SERVICE) else server_key(owner, server)


def _whether_exists(name: str) -> Command:
    if name.startswith(SERVICE):
        return ("HEXISTS", keys.SERVICES_ALL, name.removeprefix(SERVICE))
    if name.startswith(GROUP):
        return ("EXISTS", keys.group(name.removeprefix(GROUP)))
    return ("EXISTS", keys.user(name))


def _services_of(tokens: Iterable[Token]) -> set[str]:
    return {token.bound_to for token in tokens if token.bound_to.startswith(SERVICE)}


def _is_live(token: Token, server: Server | None) -> bool:
    """Return whether the attempt that a token is revoked with is active. True for a token without a server."""
    if "/" not in token.bound_to:
        return True
    return server is not None and server.active and server.attempt == token.attempt


def _is_astray(access: Share | ShareCode, servers: Collection[str]) -> bool:
    """Return whether this is for a missing named server. The default server exists before its first start."""
    return bool(access.server) and server_key(access.owner, access.server) not in servers
