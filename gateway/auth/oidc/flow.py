"""A sign-in under way, bound to the browser that began it.

Owns: the pre-session cookie, what makes an answer this browser's, and that an answer signs in once. So nobody can be
signed in with an answer that was meant for somebody else (login CSRF, RFC 6749 section 10.12).
Refuses to know providers and what an answer says.

A flow is in no store: sealed, it is the `state` that goes to the provider and comes back. Strangers may begin as many
as they like, and fill nothing. Only one that has come to its end leaves a mark, until it would be too old anyway.
"""

import hmac
import secrets
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from gateway.auth.cookies import CookieJar
from gateway.auth.oidc.words import STALE
from portal.site.sign_in import RefusedError
from state.records.models import Flow
from state.sealing.box import Box
from state.store.all import Store
from state.store.credentials import digest

LIFETIME: Final = 600
"""Seconds in which a sign-in must be done: second factors take people a while."""
STATE_MAX: Final = 8 * 1024
_FLOW: Final = msgspec.json.Decoder(Flow)
KEY_SECONDS: Final = 3600
"""How long new flows are sealed with one key."""
KEY_KEPT: Final = KEY_SECONDS + 2 * LIFETIME
KEY_KNOWN: Final = 60.0
"""Seconds after which the store is asked for it again: it may have lost it, and other workers have another one then."""


class Flows:
    """The sign-ins of one hub that are under way. Its verbs raise StateUnavailableError."""

    def __init__(self, store: Store, jar: CookieJar, *, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._jar = jar
        self._clock = clock
        self._boxes: dict[str, tuple[Box, float]] = {}

    def browser(self, request: Any) -> tuple[str, str]:
        """Which browser asks (the SHA-256 of its cookie), and a Set-Cookie value.

        A browser that has the cookie keeps it: it may have begun another sign-in in another tab.
        """
        ticket = self._ticket(request) or secrets.token_urlsafe(32)
        return digest(ticket), self._jar.set(ticket, lifetime=LIFETIME)

    async def sealing(self) -> Callable[[Flow], str]:
        """From a flow to its `state`."""
        name = str(int(self._clock() // KEY_SECONDS))
        box = await self._box(name)
        return lambda flow: f"{name}.{box.seal_text(msgspec.json.encode(flow))}"

    async def of(self, state: str, request: Any) -> Flow:
        """The flow of this `state`, if it is this browser's and not over. Raises RefusedError."""
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
        """It has come to its end. Raises RefusedError when it had before: of two answers at once, one signs in."""
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
        """The box of an hour, by a key that all workers have."""
        box, known = self._boxes.get(name, (None, 0.0))
        now = self._clock()
        if box is None or not known <= now < known + KEY_KNOWN:
            box = Box(await self._store.flows.key(name, lifetime=KEY_KEPT))
            self._boxes = {each: it for each, it in self._boxes.items() if it[1] + KEY_KNOWN > now}
            self._boxes[name] = box, now
        return box

    def _ticket(self, request: Any) -> str:
        return self._jar.ticket([value for name, value in request.scope["headers"] if name == b"cookie"])


def _stale() -> RefusedError:
    return RefusedError(STALE[0], hint=STALE[1], stale=True)
