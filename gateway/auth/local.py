"""Sign-in of the one-machine mode: a one-time link for the person at this machine.

Owns: whom a link lets in. Refuses to know sessions and pages.
"""

from collections.abc import Mapping
from typing import Any

from gateway.auth.cookies import CookieJar
from gateway.auth.sessions import BrowserSessions
from portal.site.sign_in import Arrival, Departure, Provider, RefusedError
from state.records.models import User
from state.store.all import Store


class LocalAuth(BrowserSessions):
    """What the portal needs of sign-in (`portal.site.sign_in.Auth`), for one person."""

    sign_in_links = True
    providers: tuple[Provider, ...] = ()

    def __init__(self, store: Store, jar: CookieJar, *, lifetime: int, user: str, limit: int = 0) -> None:
        """`lifetime`, `limit`: see BrowserSessions. `user`: who may enter."""
        super().__init__(store, jar, lifetime=lifetime, limit=limit)
        self._user = user

    async def sign_in(self, provider: str, fields: Mapping[str, str], request: Any) -> User:  # noqa: ARG002
        """There is no provider."""
        raise RefusedError("This hub is for the one person at its machine: sign in with the link that it printed.")

    async def depart(
        self,
        provider: str,  # noqa: ARG002
        next_url: str,  # noqa: ARG002
        request: Any,  # noqa: ARG002
        *,
        other: bool = False,  # noqa: ARG002
    ) -> Departure:
        """There is no provider."""
        raise RefusedError("There is no such way to sign in.")

    async def arrive(self, provider: str, answer: Mapping[str, str], request: Any) -> Arrival:  # noqa: ARG002
        """There is no provider."""
        raise RefusedError("There is no such way to sign in.")

    async def farewell(self, request: Any) -> str:  # noqa: ARG002
        """There is nowhere else to sign out."""
        return ""

    async def ended_there(self, provider: str, logout_token: str) -> None:  # noqa: ARG002
        """There is no provider."""
        raise RefusedError("There is no such provider.")

    async def sign_in_with_link(self, secret: str) -> User | None:
        """The user of a one-time link, which is used up; None when it is none of ours."""
        name = await self._store.links.take(secret)
        if name is None or name != self._user:
            return None
        return await self._store.users.get(name)
