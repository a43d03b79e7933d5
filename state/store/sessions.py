"""Sessions: the signed-in browsers. Key layout: docs/state.md, tag `{s:...}`."""

import secrets
from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from state.records.models import Session
from state.redis.client import Redis
from state.redis.connection import Command
from state.store import codecs, keys
from state.store.credentials import SECRET_BYTES, digest, listed, milliseconds, pairs
from state.store.feed import Feed
from state.store.table import Table
from state.store.tokens import Tokens
from state.turns import parts

SESSIONS_LISTED: Final = 32
"""If a user's list of sessions is longer, ended ones are removed at the next sign-in."""


class Sessions:
    """The sessions. All methods raise StateUnavailableError if Redis cannot serve requests."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._feed = Feed(redis)
        self._sessions = Table(redis, codecs.SESSION)
        self._tokens = Tokens(redis)

    async def open(self, session: Session, *, first: Sequence[Command] = (), limit: int = 0) -> str:
        """Store a new session and return its ticket (the secret for the cookie).

        `first`: what another store must write before the session exists (`Standings.putting`). `limit`: how many
        sessions the user may have (0: no limit); the oldest are ended.
        """
        ticket = secrets.token_urlsafe(SECRET_BYTES)
        key = digest(ticket)
        entry = ("HSET", keys.sessions(session.user), session.id, key)
        record = ("SET", keys.session(key), self._sessions.encode(session), "PXAT", milliseconds(session.expires))
        # Listed twice: a sign-out everywhere before the record exists would have removed it from the list.
        again = (entry, ("HLEN", keys.sessions(session.user)))
        *_, length = await self._redis.in_order(first, (entry,), (record,), again)
        if length > min(SESSIONS_LISTED, limit or SESSIONS_LISTED):
            live = await self.of_user(session.user)
            for one in live[:-limit] if limit else ():
                await self.end(session.user, one.id)
        return ticket

    async def get(self, ticket_digest: str) -> Session | None:
        """Return the session of a ticket's digest, or None if it does not exist or has expired."""
        found = await self._redis.call("GET", keys.session(ticket_digest))
        return self._sessions.one(found, keys.session(ticket_digest))

    async def many(self, ticket_digests: list[str]) -> list[Session | None]:
        """Return several sessions, pipelined, in order."""
        return await self._sessions.keys([keys.session(key) for key in ticket_digests])

    async def extend(self, ticket_digest: str, expires: float) -> None:
        """Extend a session. An ended one stays ended."""
        session = await self.get(ticket_digest)
        if session is None or session.expires >= expires:
            return
        await self._redis.call(
            "SET",
            keys.session(ticket_digest),
            self._sessions.encode(replace(session, expires=expires)),
            "XX",
            "PXAT",
            milliseconds(expires),
        )

    async def of_user(self, user: str) -> list[Session]:
        """Return all valid sessions of a user, oldest first."""
        return await listed(self._redis, keys.sessions(user), keys.session, self._sessions)

    async def close(self, ticket_digest: str) -> bool:
        """End one session everywhere; return False if it did not exist."""
        found = await self._redis.call("GETDEL", keys.session(ticket_digest))
        if found is None:
            return False
        session = self._sessions.one(found, keys.session(ticket_digest))
        issued: tuple[str, ...] = ()
        if session is not None:
            await self._redis.call("HDEL", keys.sessions(session.user), session.id)
            issued = await self._tokens.end_under(session.user, {ticket_digest})
        await self._feed.revoke(digests=(ticket_digest, *issued))
        return True

    async def holds(self, user: str, session_id: str) -> bool:
        """Return whether a session with this id is valid."""
        found = await self._redis.call("HGET", keys.sessions(user), session_id)
        return found is not None and await self._redis.call("EXISTS", keys.session(found.decode())) == 1

    async def end(self, user: str, session_id: str) -> bool:
        """End the session with this id everywhere; return False if it did not exist."""
        found = await self._redis.call("HGET", keys.sessions(user), session_id)
        return found is not None and await self.close(found.decode())

    async def close_all(self, user: str) -> int:
        """End all sessions of a user; return their number."""
        entries = await pairs(self._redis, keys.sessions(user))
        if not entries:
            return 0
        digests = list(entries.values())
        gone = await self._redis.pipeline([("DEL", keys.session(key)) for key in digests])
        await self._redis.pipeline([("HDEL", keys.sessions(user), *part) for part in parts(list(entries))])
        issued = await self._tokens.end_under(user, set(digests))
        await self._feed.revoke_digests((*digests, *issued))
        return sum(gone)
