"""What sessions are based on at a provider, and when each must be checked again.

Key layout: docs/state.md, tags `{u:…}`, `{standings}`, `{v:…}`, `{o:…}`.

Ensures that only one worker checks a session at a time, and maps a provider's identifiers of users and sessions to the
hub's. Does not know how sessions are checked.
"""

from typing import Final

from state.records.models import Standing
from state.redis.client import Redis, Script
from state.redis.connection import Command
from state.store import codecs, keys
from state.store.credentials import digest
from state.store.table import Table

# KEYS: due, held. ARGV: now, until when what is handed out is held, how many. What a worker has held for too long (it
# died) is due again. What is held is in `held` alone, so that hastening it hands it to nobody else: a provider that
# sees one refresh token twice takes it for stolen (RFC 9700 section 4.14).
_CLAIM: Final = Script("""
local found = {}
for number = 2, 1, -1 do
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[number], '-inf', ARGV[1], 'LIMIT', 0, ARGV[3] - #found)) do
    redis.call('ZREM', KEYS[1], member)
    redis.call('ZADD', KEYS[2], ARGV[2], member)
    found[#found + 1] = member
  end
end
return found
""")


class Standings:
    """All methods raise StateUnavailableError if Redis cannot serve requests."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._standings = Table(redis, codecs.STANDING)

    async def put(self, standing: Standing, *, due: float, lifetime: float) -> None:
        """Store a standing, to be checked at `due` (seconds since the epoch).

        Mappings to it are kept for `lifetime`.
        """
        await self._redis.pipeline(self.putting(standing, due=due, lifetime=lifetime))

    @staticmethod
    def putting(standing: Standing, *, due: float, lifetime: float) -> list[Command]:
        """Return the commands of `put`, for callers that have more to write in the same round trip."""
        milliseconds = max(1, int(lifetime * 1000))
        member = _member(standing.user, standing.session)
        commands: list[Command] = [
            ("HSET", keys.standings(standing.user), standing.session, codecs.STANDING.encode(standing)),
            ("ZADD", keys.STANDINGS_DUE, due, member),
            ("ZREM", keys.STANDINGS_HELD, member),
        ]
        if standing.subject:
            key = _vouched(standing.provider, "sub", standing.subject)
            commands.append(("SET", key, standing.user, "PX", milliseconds))
        if standing.sid:
            commands.append(("SET", _vouched(standing.provider, "sid", standing.sid), member, "PX", milliseconds))
        return commands

    async def get(self, user: str, session: str) -> Standing | None:
        """Return what a session is based on, or None. Raises BadRecordError."""
        found = await self._redis.call("HGET", keys.standings(user), session)
        return self._standings.demand(found, keys.standings(user), session)

    async def of_user(self, user: str) -> list[Standing]:
        """Return all standings of a user."""
        return list((await self._standings.hash(keys.standings(user))).values())

    async def drop(self, user: str, session: str) -> None:
        """Remove a standing."""
        await self._redis.pipeline(
            (
                ("HDEL", keys.standings(user), session),
                ("ZREM", keys.STANDINGS_DUE, _member(user, session)),
                ("ZREM", keys.STANDINGS_HELD, _member(user, session)),
            )
        )

    async def claim(self, now: float, *, hold: float, most: int) -> list[tuple[str, str]]:
        """Return up to `most` due (user, session), reserved for this caller for `hold` seconds."""
        found = await self._redis.run(_CLAIM, (keys.STANDINGS_DUE, keys.STANDINGS_HELD), (now, now + hold, most))
        return [_split(member.decode()) for member in found]

    async def hasten(self, user: str, now: float) -> int:
        """Make all standings of a user due immediately; return their number."""
        sessions = await self._redis.call("HKEYS", keys.standings(user))
        await self._redis.pipeline(
            [("ZADD", keys.STANDINGS_DUE, "XX", now, _member(user, session.decode())) for session in sessions]
        )
        return len(sessions)

    async def session_of(self, provider: str, sid: str) -> tuple[str, str] | None:
        """Return (user, session) for the provider's identifier of the session, or None."""
        found = await self._redis.call("GET", _vouched(provider, "sid", sid))
        return None if found is None else _split(found.decode())

    async def user_of(self, provider: str, subject: str) -> str | None:
        """Return the user for the provider's identifier of the account, or None."""
        found = await self._redis.call("GET", _vouched(provider, "sub", subject))
        return None if found is None else str(found.decode())

    async def first(self, name: str, *, lifetime: float) -> bool:
        """Return whether this is seen for the first time (in `lifetime` seconds)."""
        key = keys.once(digest(name))
        return await self._redis.call("SET", key, "1", "NX", "PX", max(1, int(lifetime * 1000))) is not None


def _vouched(provider: str, kind: str, name: str) -> str:
    return keys.vouched(digest(f"{provider}\0{kind}\0{name}"))


def _member(user: str, session: str) -> str:
    """Neither contains a slash."""
    return f"{user}/{session}"


def _split(member: str) -> tuple[str, str]:
    user, _, session = member.partition("/")
    return user, session
