"""Sessions, tokens and one-time links: what proves who is asking.

Key layout: docs/state.md, tags `{s:…}`, `{t:…}`, `{l:…}`. A secret is 256 random bits, URL-safe; only its SHA-256
is stored. Revoking is deleting, and a `revoked` entry in the feed for the workers' caches.
"""

import hashlib
import secrets
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec
from msgspec.structs import replace

from state.records.models import Session, Token
from state.redis.client import Redis
from state.redis.connection import Command
from state.store import keys
from state.store.feed import Feed

SECRET_BYTES: Final = 32
SESSIONS_LISTED: Final = 32
"""A user's list of sessions longer than this is freed of ended ones at the next sign-in."""

_Record = TypeVar("_Record", Session, Token)
_ENCODER: Final = msgspec.json.Encoder()
_SESSION: Final = msgspec.json.Decoder(Session)
_TOKEN: Final = msgspec.json.Decoder(Token)


def digest(secret: str) -> str:
    """SHA-256 of a secret, in hex: what is stored, and the key of every cache."""
    return hashlib.sha256(secret.encode()).hexdigest()


class Sessions:
    """Signed-in browsers. All verbs raise StateUnavailableError when Redis cannot serve."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._feed = Feed(redis)

    async def open(self, session: Session, *, first: Sequence[Command] = ()) -> str:
        """Store a new session and return its ticket (the secret for the cookie).

        `first`: what another store has to write before the session is there (`Standings.putting`).
        """
        ticket = secrets.token_urlsafe(SECRET_BYTES)
        key = digest(ticket)
        listed = ("HSET", keys.sessions(session.user), session.id, key)
        record = ("SET", keys.session(key), _ENCODER.encode(session), "PXAT", _milliseconds(session.expires))
        # listed twice: a sign-out everywhere before the record is there would have left it out of the list
        again = (listed, ("HLEN", keys.sessions(session.user)))
        *_, length = await self._redis.in_order(first, (listed,), (record,), again)
        if length > SESSIONS_LISTED:
            await self.of_user(session.user)
        return ticket

    async def get(self, ticket_digest: str) -> Session | None:
        """The session of a ticket's digest, or None when there is none or it has expired."""
        found = await self._redis.call("GET", keys.session(ticket_digest))
        return None if found is None else _SESSION.decode(found)

    async def many(self, ticket_digests: list[str]) -> list[Session | None]:
        """`get` for several digests, pipelined, in their order."""
        found = await self._redis.pipeline([("GET", keys.session(key)) for key in ticket_digests])
        return [None if record is None else _SESSION.decode(record) for record in found]

    async def extend(self, ticket_digest: str, expires: float) -> None:
        """Slide the expiry; no effect on a session that is gone."""
        session = await self.get(ticket_digest)
        if session is None or session.expires >= expires:
            return
        await self._redis.call(
            "SET",
            keys.session(ticket_digest),
            _ENCODER.encode(replace(session, expires=expires)),
            "XX",
            "PXAT",
            _milliseconds(expires),
        )

    async def of_user(self, user: str) -> list[Session]:
        """All live sessions of a user, oldest first."""
        return await _listed(self._redis, keys.sessions(user), keys.session, _SESSION)

    async def close(self, ticket_digest: str) -> bool:
        """End one session everywhere; False when there was none."""
        found = await self._redis.call("GETDEL", keys.session(ticket_digest))
        if found is None:
            return False
        session = _SESSION.decode(found)
        await self._redis.call("HDEL", keys.sessions(session.user), session.id)
        issued = await _end_under(self._redis, session.user, {ticket_digest})
        await self._feed.revoke(digests=(ticket_digest, *issued))
        return True

    async def holds(self, user: str, session_id: str) -> bool:
        """Whether a session of this id is open."""
        found = await self._redis.call("HGET", keys.sessions(user), session_id)
        return found is not None and await self._redis.call("EXISTS", keys.session(found.decode())) == 1

    async def end(self, user: str, session_id: str) -> bool:
        """End the session of this id everywhere; False when there was none."""
        found = await self._redis.call("HGET", keys.sessions(user), session_id)
        return found is not None and await self.close(found.decode())

    async def close_all(self, user: str) -> int:
        """End all sessions of a user; how many there were."""
        digests, gone = await _end_all(self._redis, keys.sessions(user), keys.session)
        if digests:
            issued = await _end_under(self._redis, user, set(digests))
            await self._feed.revoke(digests=(*digests, *issued))
        return gone


class Tokens:
    """API tokens. All verbs raise StateUnavailableError when Redis cannot serve.

    `owner`: a user's name, or a service's key.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._feed = Feed(redis)

    async def issue(self, token: Token) -> str:
        """Store a new token and return its secret: the only time that it is known."""
        secret = secrets.token_urlsafe(SECRET_BYTES)
        await self.keep(token, digest(secret))
        return secret

    async def keep(self, token: Token, secret_digest: str) -> None:
        """Store a token whose secret somebody has already, by its digest."""
        key = secret_digest
        until = () if token.expires is None else ("PXAT", _milliseconds(token.expires))
        listed = ("HSET", keys.tokens(token.owner), token.id, key)
        await self._redis.call(*listed)
        await self._redis.call("SET", keys.token(key), _ENCODER.encode(token), *until)
        await self._redis.call(*listed)  # as with sessions

    async def get(self, secret_digest: str) -> Token | None:
        """The token of a secret's digest, or None when there is none or it has expired."""
        found = await self._redis.call("GET", keys.token(secret_digest))
        return None if found is None else _TOKEN.decode(found)

    async def many(self, secret_digests: list[str]) -> list[Token | None]:
        """`get` for several digests, pipelined, in their order."""
        found = await self._redis.pipeline([("GET", keys.token(key)) for key in secret_digests])
        return [None if record is None else _TOKEN.decode(record) for record in found]

    async def of_user(self, owner: str) -> list[Token]:
        """All live tokens of a user or (by its key) a service, oldest first."""
        return await _listed(self._redis, keys.tokens(owner), keys.token, _TOKEN)

    async def used(self, secret_digests: dict[str, float]) -> None:
        """Note last use (digest → seconds), in a batch; no effect on a token that is gone."""
        order = list(secret_digests)
        commands: list[tuple[Any, ...]] = []
        for key, token in zip(order, await self.many(order), strict=True):
            at = secret_digests[key]
            if token is not None and (token.last_activity is None or token.last_activity < at):
                record = _ENCODER.encode(replace(token, last_activity=at))
                commands.append(("SET", keys.token(key), record, "XX", "KEEPTTL"))
        await self._redis.pipeline(commands)

    async def revoke(self, owner: str, token_id: str) -> bool:
        """End one token everywhere; False when there was none."""
        found = await self._redis.call("HGET", keys.tokens(owner), token_id)
        if found is None:
            return False
        key = found.decode()
        gone = await self._redis.call("DEL", keys.token(key))
        await self._redis.call("HDEL", keys.tokens(owner), token_id)
        issued = await _end_under(self._redis, owner, {key})
        await self._feed.revoke(digests=(key, *issued))
        return bool(gone)

    async def revoke_all(self, owner: str) -> int:
        """End all tokens of a user or service; how many there were."""
        digests, gone = await _end_all(self._redis, keys.tokens(owner), keys.token)
        if digests:
            await self._feed.revoke(digests=digests)
        return gone


class Links:
    """One-time sign-in links. All verbs raise StateUnavailableError when Redis cannot serve."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def issue(self, user: str, *, lifetime: float) -> str:
        """A secret that signs `user` in once, within `lifetime` seconds."""
        secret = secrets.token_urlsafe(SECRET_BYTES)
        await self._redis.call("SET", keys.link(digest(secret)), user, "PX", _milliseconds(lifetime))
        return secret

    async def take(self, secret: str) -> str | None:
        """The user of a link, which is used up by this; None when there is none."""
        found = await self._redis.call("GETDEL", keys.link(digest(secret)))
        return None if found is None else found.decode()


async def _listed(
    redis: Redis, index: str, key_of: Callable[[str], str], decoder: msgspec.json.Decoder[_Record]
) -> list[_Record]:
    """The live records of a user's list, oldest first; entries whose record has ended leave the list."""
    pairs = await redis.call("HGETALL", index)
    found = await redis.pipeline([("GET", key_of(key.decode())) for key in pairs[1::2]])
    ended = [entry for entry, record in zip(pairs[0::2], found, strict=True) if record is None]
    if ended:
        await redis.call("HDEL", index, *ended)
    live = [decoder.decode(record) for record in found if record is not None]
    return sorted(live, key=lambda record: record.created)


async def _end_all(redis: Redis, index: str, key_of: Callable[[str], str]) -> tuple[tuple[str, ...], int]:
    """Delete every record of a user's list, then the entries: their digests, and how many there still were."""
    pairs = await redis.call("HGETALL", index)
    if not pairs:
        return (), 0
    digests = tuple(key.decode() for key in pairs[1::2])
    gone = await redis.pipeline([("DEL", key_of(key)) for key in digests])
    await redis.call("HDEL", index, *pairs[0::2])
    return digests, sum(gone)


async def _end_under(redis: Redis, owner: str, digests: set[str]) -> tuple[str, ...]:
    """Delete the tokens that were issued under these credentials of an owner: their digests, for workers to hear."""
    pairs = await redis.call("HGETALL", keys.tokens(owner))
    if not pairs:
        return ()
    entries = [(entry, key.decode()) for entry, key in zip(pairs[0::2], pairs[1::2], strict=True)]
    records = await redis.pipeline([("GET", keys.token(key)) for _, key in entries])
    ended = [
        (entry, key)
        for (entry, key), record in zip(entries, records, strict=True)
        if record is not None and _TOKEN.decode(record).under in digests
    ]
    if ended:
        await redis.pipeline([("DEL", keys.token(key)) for _, key in ended])
        await redis.call("HDEL", keys.tokens(owner), *(entry for entry, _ in ended))
    return tuple(key for _, key in ended)


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))
