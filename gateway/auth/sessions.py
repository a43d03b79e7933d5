"""Sessions of browsers, however somebody signed in.

Owns: opening and closing them, and the rule that a sign-in gives a new session (the old one ends: session fixation).
Refuses to know who may enter, and pages.
"""

import secrets
import time
from collections.abc import Sequence
from typing import Any

from gateway.auth.cookies import ENTRANCE_NAME, ORIGIN_NAME, CookieJar
from portal.audit import recorder
from state.records.audit import Act
from state.records.models import Session, User
from state.rights.identity import Identity
from state.store.all import Store

_SHOWN_MAX = 200


class BrowserSessions:
    """The sessions' side of `portal.site.sign_in.Auth`."""

    def __init__(self, store: Store, jar: CookieJar, *, lifetime: int, limit: int = 0) -> None:
        """`lifetime`: seconds after its last use at which a session ends. `limit`: sessions that a user may have."""
        self._limit = limit
        self._store = store
        self._jar = jar
        self._lifetime = lifetime

    async def open_session(self, user: User, request: Any, *, way: str = "") -> str:
        """A new session; the Set-Cookie value. A session that the request brought ends. `way`: how they signed in."""
        await self._end(request)
        now = time.time()
        agent = request.headers.get("user-agent", "")
        session = Session(
            id=secrets.token_hex(8),
            user=user.name,
            created=now,
            expires=now + self._lifetime,
            address=recorder.address(request),
            user_agent=agent[:_SHOWN_MAX],
        )
        first = self._about_to_open(session, request)
        ticket = await self._store.sessions.open(session, first=first, limit=self._limit)
        by = f"session {session.id}"
        await recorder.note(self._store, request, Act.SIGN_IN, user=user.name, who=user.name, by=by, what=way)
        return self._jar.set(ticket, lifetime=self._lifetime)

    def _about_to_open(self, session: Session, request: Any) -> Sequence[Any]:  # noqa: ARG002
        """For whoever keeps more of a session than its record: what the store writes before it."""
        return ()

    def start(self) -> None:
        """Begin what goes on in the background."""

    async def stop(self) -> None:
        """End it, and close what is open to others."""

    async def close_session(self, request: Any) -> str:
        """End the request's session everywhere; the Set-Cookie value that takes the cookie away."""
        identity = request.scope["state"].get("identity")
        await self._end(request)
        if identity is not None:
            await recorder.note(self._store, request, Act.SIGN_OUT, user=identity.user.name)
        return self._jar.clear()

    def entrance(self, request: Any) -> str:
        """See `portal.site.sign_in.Auth.entrance`."""
        cookies = [value for name, value in request.scope["headers"] if name == b"cookie"]
        return self._jar.another(ENTRANCE_NAME).ticket(cookies)

    def origin_cookie(self, secret: str, *, lifetime: int) -> str:
        """See `portal.site.sign_in.Auth.origin_cookie`."""
        return self._jar.another(ORIGIN_NAME).set(secret, lifetime=lifetime)

    async def close_open(self, *, digests: tuple[str, ...] = (), user: str = "") -> None:
        """End what is open under these credentials (or have all of this user's checked anew), on every worker."""
        await self._store.feed.revoke(digests=digests, user=user)

    async def _end(self, request: Any) -> None:
        identity: Identity | None = request.scope.get("state", {}).get("identity")
        if identity is not None and identity.session is not None:
            await self._store.sessions.close(identity.digest)
