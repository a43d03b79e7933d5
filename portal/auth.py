"""What the portal asks of sign-in, and of nothing else: the gateway supplies it.

Owns: the verbs. Refuses to know cookies' names, how a credential is checked, and which providers there are.
"""

from typing import Any, Protocol

from litestar import Request

from state.records import User


class Auth(Protocol):
    """Sign-in and sign-out, as the gateway does them. Every verb may raise StateUnavailableError."""

    @property
    def sign_in_links(self) -> bool:
        """Whether one-time sign-in links are how people enter (the one-machine mode)."""
        ...

    async def sign_in_with_link(self, secret: str) -> User | None:
        """The user of a one-time link, which is used up by this; None when it is not valid (any more)."""
        ...

    async def open_session(self, user: User, request: Request[Any, Any, Any]) -> str:
        """A new session with a new id, whatever the browser sent; the value of its Set-Cookie header."""
        ...

    async def close_session(self, request: Request[Any, Any, Any]) -> str:
        """End the request's session on every worker; the value of the Set-Cookie header that clears it."""
        ...

    async def close_open(self, *, digests: tuple[str, ...] = (), user: str = "") -> None:
        """End what is open under these credentials (or all of this user's): WebSockets, cached identities."""
        ...
