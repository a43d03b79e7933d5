"""A worker's cache of the identities behind sessions and tokens.

Owns how long entries are kept, their removal at sign-out, revocation, expiry or a change of the user, and the extension
of sessions that are in use. Does not know HTTP or what an identity may do.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from state.errors import StateUnavailableError
from state.records.models import Session, Token
from state.rights.identity import Identity
from state.rights.owners import Owners
from state.rights.roles import Roles
from state.store.all import Store

REVALIDATE_SECONDS: Final = 30.0
"""Age at which a cached credential is read again in the background."""
IDLE_SECONDS: Final = 3600.0
"""A credential that is unused for this long leaves the cache. It stays valid."""
KNOWN_LIMIT: Final = 50_000
UNKNOWN_LIMIT: Final = 10_000
UNKNOWN_SECONDS: Final = 5.0
SLIDE_SECONDS: Final = 3600.0
BATCH: Final = 200
CONFIGURED: Final = "configured"
"""The id of a token from the configuration. It cannot be revoked."""

Ended = Callable[[frozenset[str], str], None]


class _Known:
    """A cached identity: when it expires, when it was read and when it was last used."""

    __slots__ = ("checked", "identity", "until", "used")

    def __init__(self, identity: Identity, now: float) -> None:
        self.identity = identity
        self.until = _expires(identity)
        self.checked = now
        self.used = now


class Identities:
    """The cache. `ended` is called with (digests, user) when credentials end."""

    def __init__(
        self,
        store: Store,
        ended: Ended,
        *,
        lifetime: float,
        roles: Roles | None = None,
        service_digests: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`roles`: from the configuration. `service_digests`: configured service → the digest of its token."""
        roles = roles or Roles()
        self._store = store
        self._owners = Owners(store, roles)
        self._configured = {
            digest: self._owners.of_service(
                roles.services[name], digest, Token(id=CONFIGURED, service=name, scopes=("inherit",), created=0.0)
            )
            for name, digest in (service_digests or {}).items()
        }
        self._ended = ended
        self._lifetime = lifetime
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._unknown: dict[tuple[str, bool], float] = {}  # digests that are not valid as a session's or as a token's
        self._asking: dict[tuple[str, bool], asyncio.Task[Identity | None]] = {}
        self._turn = 0  # incremented whenever something ends, because a read that was under way may then be outdated

    def peek(self, digest: str) -> Identity | None:
        """Return a cached identity that is still valid, without waiting."""
        known = self._known.get(digest)
        if known is None:
            return self._configured.get(digest)
        now = self._clock()
        if now >= known.until:
            return None
        known.used = now
        return known.identity

    async def identify(self, digest: str, *, session: bool) -> Identity | None:
        """Return an identity from the cache, else from Redis; None: not valid. Raises StateUnavailableError."""
        known = self.peek(digest)
        if known is not None:
            return known if (known.session is not None) is session else None
        question = (digest, session)
        if self._unknown.get(question, 0.0) > self._clock():
            return None
        asking = self._asking.get(question)
        if asking is None:
            asking = asyncio.create_task(self._ask(digest, session=session))
            self._asking[question] = asking
            asking.add_done_callback(lambda task: self._release_question(question, task))
        return await asyncio.shield(asking)

    def revoked(self, digests: Iterable[str], user: str) -> None:
        """Drop these, and everything that concerns `user` (see `Revoked`). They are read again at their next use."""
        self._turn += 1
        for digest in digests:
            self._known.pop(digest, None)
        if user:
            for digest in [key for key, known in self._known.items() if user in known.identity.concerns]:
                del self._known[digest]

    def doubt(self) -> None:
        """Read everything again soon, because a revocation may have been missed."""
        self._turn += 1
        for known in self._known.values():
            known.checked = 0.0

    async def revalidate(self) -> None:
        """End what has expired, and read again what is due. Raises StateUnavailableError."""
        now = self._clock()
        over = [digest for digest, known in self._known.items() if now >= known.until]
        if over:
            self._end(over)
        for digest in [key for key, known in self._known.items() if now - known.used > IDLE_SECONDS]:
            del self._known[digest]
        age = min(REVALIDATE_SECONDS, self._lifetime / 10)
        due = [digest for digest, known in self._known.items() if now - known.checked >= age]
        for at in range(0, len(due), BATCH):
            await self._check(due[at : at + BATCH])

    async def _check(self, digests: Sequence[str]) -> None:
        """Read these again in a few round trips."""
        turn = self._turn
        held = [self._known[digest] for digest in digests if digest in self._known]
        by_session = [known for known in held if known.identity.session is not None]
        by_token = [known for known in held if known.identity.token is not None]
        sessions = await self._store.sessions.many([known.identity.digest for known in by_session])
        tokens = await self._store.tokens.many([known.identity.digest for known in by_token])
        records = dict(
            zip([known.identity.digest for known in (*by_session, *by_token)], (*sessions, *tokens), strict=True)
        )
        present = [(digest, record) for digest, record in records.items() if record is not None]
        identities = {one.digest: one for one in await self._owners.identify(present) if one is not None}
        if turn != self._turn:
            return  # something ended meanwhile; the entries that are still cached are due at the next check
        now = self._clock()
        gone: list[str] = []
        for known in (*by_session, *by_token):
            digest = known.identity.digest
            identity = identities.get(digest)
            if identity is None:
                gone.append(digest)
                continue
            fresh = _Known(identity, now)
            fresh.used = known.used
            self._known[digest] = fresh
        if gone:
            self._end(gone)
        for known in by_session:
            if known.identity.digest in self._known:
                await self._slide(self._known[known.identity.digest])

    async def _slide(self, known: _Known) -> None:
        """Extend a session that is in use, at most once per hour or tenth of its lifetime."""
        session = known.identity.session
        if session is None:
            return
        new_expiry = known.used + self._lifetime
        if new_expiry - session.expires < min(SLIDE_SECONDS, self._lifetime / 10):
            return
        await self._store.sessions.extend(known.identity.digest, new_expiry)
        renewed = await self._store.sessions.get(known.identity.digest)
        if renewed is not None and self._known.get(known.identity.digest) is known:
            known.identity.session = renewed
            known.until = renewed.expires

    async def _ask(self, digest: str, *, session: bool) -> Identity | None:
        while True:
            turn = self._turn
            record: Session | Token | None
            if session:
                record = await self._store.sessions.get(digest)
            else:
                record = await self._store.tokens.get(digest)
            found = [] if record is None else await self._owners.identify([(digest, record)])
            if turn == self._turn:
                break
        now = self._clock()
        identity = found[0] if found else None
        if identity is None:
            self._remember_unknown((digest, session), now)
            return None
        if now >= _expires(identity):
            return None
        if len(self._known) >= KNOWN_LIMIT:
            for old in sorted(self._known, key=lambda key: self._known[key].used)[: max(1, KNOWN_LIMIT // 20)]:
                del self._known[old]
        self._known[digest] = _Known(identity, now)
        return identity

    def _release_question(self, question: tuple[str, bool], task: asyncio.Task[Identity | None]) -> None:
        self._asking.pop(question, None)
        if not task.cancelled():
            with contextlib.suppress(StateUnavailableError):
                task.result()

    def _remember_unknown(self, question: tuple[str, bool], now: float) -> None:
        if len(self._unknown) >= UNKNOWN_LIMIT:
            for key in list(self._unknown)[: max(1, UNKNOWN_LIMIT // 2)]:  # the oldest
                del self._unknown[key]
        self._unknown[question] = now + UNKNOWN_SECONDS

    def _end(self, digests: list[str]) -> None:
        self._turn += 1
        for digest in digests:
            self._known.pop(digest, None)
        self._ended(frozenset(digests), "")


def _expires(identity: Identity) -> float:
    if identity.session is not None:
        return identity.session.expires
    if identity.token is not None and identity.token.expires is not None:
        return identity.token.expires
    return float("inf")
