"""A sign-in in progress, bound to the browser that started it.

Owns the pre-session cookie, the check that a response belongs to this browser, and that a response is used once. So no
browser can be signed in with a response for another user (login CSRF, RFC 6749 section 10.12).
Does not know about providers and the content of responses.

A flow is not stored: encrypted, it is the `state` that goes to the provider and comes back. So unauthenticated clients
cannot fill the store. Only a finished flow is recorded, until it would have expired anyway.
"""

import hmac
import secrets
import time
from collections.abc import Callable
from typing import Final

import msgspec

from gateway.auth.cookies import CookieJar
from gateway.auth.oidc.messages import STALE
from gateway.auth.portal_request import PortalRequest
from portal.site.sign_in import RefusedError
from state.records.models import Flow
from state.sealing.box import Box
from state.store.all import Store
from state.store.credentials import digest

LIFETIME: Final = 600
"""Seconds in which a sign-in must be finished. Second factors can take a while."""
STATE_MAX: Final = 8 * 1024
_FLOW: Final = msgspec.json.Decoder(Flow)
KEY_SECONDS: Final = 3600
"""Seconds for which new flows use the same key."""
KEY_KEPT: Final = KEY_SECONDS + 2 * LIFETIME
KEY_KNOWN: Final = 60.0
"""Seconds after which the key is read again: the store may have lost it, and other workers have a new one then."""


class Flows:
    """The sign-ins of one hub that are in progress. Methods raise StateUnavailableError."""

    def __init__(self, store: Store, jar: CookieJar, *, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._jar = jar
        self._clock = clock
        self._boxes: dict[str, tuple[Box, float]] = {}

    def browser(self, request: PortalRequest) -> tuple[str, str]:
        """Return the browser's id (the SHA-256 of its cookie) and a Set-Cookie value.

        A browser that has the cookie keeps it, because it may have started another sign-in in another tab.
        """
        ticket = self._ticket(request) or secrets.token_urlsafe(32)
        return digest(ticket), self._jar.set(ticket, lifetime=LIFETIME)

    async def sealing(self) -> Callable[[Flow], str]:
        """Return the function that encrypts a flow into its `state`."""
        name = str(int(self._clock() // KEY_SECONDS))
        box = await self._box(name)
        return lambda flow: f"{name}.{box.seal_text(msgspec.json.encode(flow))}"

    async def of(self, state: str, request: PortalRequest) -> Flow:
        """Return the flow of this `state`. Raises RefusedError if it is of another browser, expired or used."""
        ticket = self._ticket(request)
        flow = await self._opened(state) if ticket else None
        if (
            flow is None
            or not hmac.compare_digest(flow.browser, digest(ticket))
            or not -LIFETIME <= self._clock() - flow.created <= LIFETIME
            or await self._store.flows.over(state)
        ):
            raise _stale()
        return flow

    async def end(self, state: str) -> None:
        """Mark the flow as used. Raises RefusedError if it was used before, so that it signs in only once."""
        if not await self._store.flows.end(state, lifetime=2 * LIFETIME):
            raise _stale()

    async def _opened(self, state: str) -> Flow | None:
        name, _, sealed = state.partition(".")
        now = int(self._clock() // KEY_SECONDS)
        if len(state) > STATE_MAX or name not in {str(now), str(now - 1)}:
            return None
        content = (await self._box(name)).open_text(sealed)
        return None if content is None else _FLOW.decode(content)

    async def _box(self, name: str) -> Box:
        """Return the box of an hour, whose key all workers share."""
        box, known = self._boxes.get(name, (None, 0.0))
        now = self._clock()
        if box is None or not known <= now < known + KEY_KNOWN:
            box = Box(await self._store.flows.key(name, lifetime=KEY_KEPT))
            self._boxes = {each: it for each, it in self._boxes.items() if it[1] + KEY_KNOWN > now}
            self._boxes[name] = box, now
        return box

    def _ticket(self, request: PortalRequest) -> str:
        return self._jar.ticket([value for name, value in request.scope["headers"] if name == b"cookie"])


def _stale() -> RefusedError:
    return RefusedError(STALE[0], hint=STALE[1], stale=True)
