"""Sign-in of the one-machine mode: a one-time link for the user at this machine.

Owns the check of links. Does not know about sessions and pages.
"""

from collections.abc import Mapping

from gateway.auth.cookies import CookieJar
from gateway.auth.portal_request import PortalRequest
from gateway.auth.sessions import BrowserSessions
from portal.site.sign_in import Arrival, Departure, Provider, RefusedError
from state.records.models import User
from state.store.all import Store


class LocalAuth(BrowserSessions):
    """Implements `portal.site.sign_in.Auth` for a single user."""

    sign_in_links = True
    providers: tuple[Provider, ...] = ()

    def __init__(self, store: Store, jar: CookieJar, *, lifetime: int, user: str, limit: int = 0) -> None:
        """`lifetime`, `limit`: see BrowserSessions. `user`: the only user."""
        super().__init__(store, jar, lifetime=lifetime, limit=limit)
        self._user = user

    async def sign_in(self, provider: str, fields: Mapping[str, str], request: PortalRequest) -> User:  # noqa: ARG002
        """Raise RefusedError: this mode has no provider."""
        raise RefusedError("This hub is for the user at its machine. Sign in with the link that it printed.")

    async def depart(
        self,
        provider: str,  # noqa: ARG002
        next_url: str,  # noqa: ARG002
        request: PortalRequest,  # noqa: ARG002
        *,
        other: bool = False,  # noqa: ARG002
    ) -> Departure:
        """Raise RefusedError: this mode has no provider."""
        raise RefusedError("This way to sign in does not exist.")

    async def arrive(self, provider: str, answer: Mapping[str, str], request: PortalRequest) -> Arrival:  # noqa: ARG002
        """Raise RefusedError: this mode has no provider."""
        raise RefusedError("This way to sign in does not exist.")

    async def farewell(self, request: PortalRequest) -> str:  # noqa: ARG002
        """Return `""`: there is no provider to sign out from."""
        return ""

    async def ended_there(self, provider: str, logout_token: str) -> None:  # noqa: ARG002
        """Raise RefusedError: this mode has no provider."""
        raise RefusedError("This provider does not exist.")

    async def sign_in_with_link(self, secret: str) -> User | None:
        """Consume a one-time link and return its user; None if the link is not valid."""
        name = await self._store.links.take(secret)
        if name is None or name != self._user:
            return None
        return await self._store.users.get(name)
