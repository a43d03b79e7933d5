"""Sessions of browsers, for every way to sign in.

Owns how sessions open and close. A sign-in always creates a new session and ends the old one (session fixation).
Does not know who may sign in, and does not know about pages.
"""

import secrets
import time
from collections.abc import Sequence

from gateway.auth.cookies import ENTRANCE_NAME, ORIGIN_NAME, CookieJar
from gateway.auth.portal_request import PortalRequest
from portal.audit import recorder
from state.records.audit import Act
from state.records.models import Session, User
from state.redis.connection import Command
from state.rights.identity import Identity
from state.store.all import Store

_SHOWN_MAX = 200


class BrowserSessions:
    """The part of `portal.site.sign_in.Auth` that manages sessions."""

    def __init__(self, store: Store, jar: CookieJar, *, lifetime: int, limit: int = 0) -> None:
        """`lifetime`: seconds of inactivity until a session ends. `limit`: sessions per user; 0: no limit."""
        self._limit = limit
        self._store = store
        self._jar = jar
        self._lifetime = lifetime

    async def open_session(self, user: User, request: PortalRequest, *, way: str = "") -> str:
        """Open a session, end the request's old one, and return the Set-Cookie value. `way`: the provider's name."""
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

    def _about_to_open(self, session: Session, request: PortalRequest) -> Sequence[Command]:  # noqa: ARG002
        """Return commands that the store executes before it writes the session. Overridden if more is stored."""
        return ()

    def start(self) -> None:
        """Start background tasks."""

    async def stop(self) -> None:
        """Stop background tasks and close connections to providers."""

    async def close_session(self, request: PortalRequest) -> str:
        """End the request's session on all workers. Returns the Set-Cookie value that deletes the cookie."""
        identity = request.scope["state"].get("identity")
        await self._end(request)
        if identity is not None:
            await recorder.note(self._store, request, Act.SIGN_OUT, user=identity.user.name)
        return self._jar.clear()

    def entrance(self, request: PortalRequest) -> str:
        """See `portal.site.sign_in.Auth.entrance`."""
        cookies = [value for name, value in request.scope["headers"] if name == b"cookie"]
        return self._jar.another(ENTRANCE_NAME).ticket(cookies)

    def origin_cookie(self, secret: str, *, lifetime: int) -> str:
        """See `portal.site.sign_in.Auth.origin_cookie`."""
        return self._jar.another(ORIGIN_NAME).set(secret, lifetime=lifetime)

    async def _end(self, request: PortalRequest) -> None:
        identity: Identity | None = request.scope.get("state", {}).get("identity")
        if identity is not None and identity.session is not None:
            await self._store.sessions.close(identity.digest)
