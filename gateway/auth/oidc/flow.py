"""A sign-in under way, bound to the browser that began it.

Owns: the pre-session cookie and what makes an answer this browser's: state, taken once, and the cookie. So nobody can
be signed in with an answer that was meant for somebody else (login CSRF, RFC 6749 section 10.12).
Refuses to know providers and what an answer says.
"""

import hmac
import secrets
from typing import Any, Final

from gateway.auth.cookies import CookieJar
from gateway.auth.oidc.words import STALE
from portal.auth import RefusedError
from state.records import Flow
from state.store.all import Store
from state.store.credentials import digest

LIFETIME: Final = 600
"""Seconds in which a sign-in must be done: second factors take people a while."""
STATE_MAX: Final = 128


class Flows:
    """The sign-ins of one hub that are under way."""

    def __init__(self, store: Store, jar: CookieJar) -> None:
        self._store = store
        self._jar = jar

    def browser(self, request: Any) -> tuple[str, str]:
        """Which browser asks (the SHA-256 of its cookie), and a Set-Cookie value.

        A browser that has the cookie keeps it: it may have begun another sign-in in another tab.
        """
        ticket = self._ticket(request) or secrets.token_urlsafe(32)
        return digest(ticket), self._jar.set(ticket, lifetime=LIFETIME)

    async def put(self, state: str, flow: Flow) -> None:
        """Remember it for LIFETIME seconds. Raises StateUnavailableError."""
        await self._store.flows.put(state, flow, lifetime=LIFETIME)

    async def take(self, state: str, request: Any) -> Flow:
        """The flow of this `state`, used up whatever comes of it. Raises RefusedError, StateUnavailableError."""
        ticket = self._ticket(request)
        flow = await self._store.flows.take(state) if 0 < len(state) <= STATE_MAX else None
        if flow is None or not ticket or not hmac.compare_digest(flow.browser, digest(ticket)):
            raise RefusedError(STALE[0], hint=STALE[1], stale=True)
        return flow

    def _ticket(self, request: Any) -> str:
        return self._jar.ticket([value for name, value in request.scope["headers"] if name == b"cookie"])
