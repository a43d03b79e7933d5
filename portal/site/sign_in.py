"""The interface to sign-in, which the gateway implements.

Owns the methods, and the description of a provider for the page. Does not know about names of cookies, how a credential
is checked, and the kinds of provider.
"""

import math
from collections.abc import Mapping
from typing import Any, Protocol

from litestar import Request
from msgspec import Struct

from state.records.models import User


class Provider(Struct, frozen=True, kw_only=True):
    """A sign-in provider, as the page shows it.

    `form`: `names` (a button for each of `names`), `password` (fields for name and password) or `link` (a
    button that redirects to the provider through `/hub/login/NAME`). `logo`: the name of its picture among the static
    files.
    """

    name: str
    title: str
    note: str = ""
    form: str = "names"
    names: tuple[str, ...] = ()
    logo: str = ""


class Departure(Struct, frozen=True, kw_only=True):
    """The URL at which the user signs in, and the Set-Cookie value of the flow (`""`: the browser has the cookie)."""

    url: str
    cookie: str = ""


class Arrival(Struct, frozen=True, kw_only=True):
    """A finished sign-in: the requested page (`""`: none), and the session's Set-Cookie value."""

    next: str
    cookie: str


class RefusedError(Exception):
    """The sign-in is refused. `str` is a message for the user, `hint` says what to do, `next` is the requested page.

    `other`: the provider at which the user could choose another account. `stale`: the response was used before, or
    belongs to another browser; an existing session is not affected.
    """

    def __init__(self, message: str, *, hint: str = "", other: str = "", stale: bool = False) -> None:
        super().__init__(message)
        self.hint = hint
        self.other = other
        self.stale = stale
        self.next = ""


class TooOftenError(RefusedError):
    """There were too many failed attempts. The user can try again after `seconds` (at least 1)."""

    def __init__(self, seconds: float) -> None:
        self.seconds = max(1, math.ceil(seconds))
        super().__init__(
            f"There were too many failed attempts to sign in. Wait {_duration(self.seconds)}, then try again."
        )


class UnansweredError(Exception):
    """The provider does not answer, so the sign-in cannot be checked. `str` is a message for the user.

    `untried`: the password was not sent. Otherwise it may have been checked in part (a stack of two PAM modules, one of
    which is down), and counts as a failed attempt.
    """

    def __init__(self, sentence: str, *, untried: bool = False) -> None:
        super().__init__(sentence)
        self.untried = untried


def _duration(seconds: int) -> str:
    if seconds < 100:  # noqa: PLR2004 - above it, minutes read better
        return "1 second" if seconds == 1 else f"{seconds} seconds"
    return f"{math.ceil(seconds / 60)} minutes"


class Auth(Protocol):
    """Sign-in and sign-out. All methods may raise StateUnavailableError."""

    @property
    def sign_in_links(self) -> bool:
        """Whether users sign in with one-time links (the one-machine mode)."""
        ...

    @property
    def providers(self) -> tuple[Provider, ...]:
        """The providers, in the order of the configuration."""
        ...

    async def sign_in(self, provider: str, fields: Mapping[str, str], request: Request[Any, Any, Any]) -> User:
        """Return the user who sent the sign-in form. The user is created at the first sign-in.

        Raises RefusedError, TooOftenError and UnansweredError.
        """
        ...

    async def depart(
        self, provider: str, next_url: str, request: Request[Any, Any, Any], *, other: bool = False
    ) -> Departure:
        """Start a sign-in at a provider of form `link`, which ends at `next_url`. Raises RefusedError.

        `other`: the user wants to choose another account there.
        """
        ...

    async def arrive(self, provider: str, answer: Mapping[str, str], request: Request[Any, Any, Any]) -> Arrival:
        """Finish a sign-in with the provider's response. `provider`: the name in the redirect URI, or `""`.

        The browser's previous session ends. Raises RefusedError.
        """
        ...

    async def farewell(self, request: Request[Any, Any, Any]) -> str:
        """Return the URL that also signs the user out at the provider; `""`: none. The session does not end."""
        ...

    async def ended_there(self, provider: str, logout_token: str) -> None:
        """End the sessions that a provider's logout token names. Raises RefusedError."""
        ...

    async def sign_in_with_link(self, secret: str) -> User | None:
        """Consume a one-time link and return its user; None if it is not valid."""
        ...

    async def open_session(self, user: User, request: Request[Any, Any, Any], *, way: str = "") -> str:
        """Open a new session with a new id, and return the value of its Set-Cookie header.

        `way`: the provider's name, for the audit.
        """
        ...

    async def close_session(self, request: Request[Any, Any, Any]) -> str:
        """End the request's session on every worker. Returns the Set-Cookie value that deletes its cookie."""
        ...

    def entrance(self, request: Request[Any, Any, Any]) -> str:
        """Return the cookie of a browser that is being redirected to the host of a user's servers; `""`: none."""
        ...

    def origin_cookie(self, secret: str, *, lifetime: int) -> str:
        """Return the Set-Cookie value with the token for that host."""
        ...
