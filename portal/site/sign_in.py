"""What the portal asks of sign-in, and of nothing else: the gateway supplies it.

Owns: the verbs, and a way to sign in as data for the page. Refuses to know cookies' names, how a credential is checked,
and which kinds of provider there are.
"""

import math
from collections.abc import Mapping
from typing import Any, Protocol

from litestar import Request
from msgspec import Struct

from state.records.models import User


class Provider(Struct, frozen=True, kw_only=True):
    """A way to sign in, as the page shows it.

    `form`: `names` (a button for each of `names`, and nothing to type), `password` (fields for both) or `link` (a
    button that leads to the provider by way of `/hub/login/NAME`). `logo`: the name of its picture among the static
    files.
    """

    name: str
    title: str
    note: str = ""
    form: str = "names"
    names: tuple[str, ...] = ()
    logo: str = ""


class Departure(Struct, frozen=True, kw_only=True):
    """Where the browser goes to sign in, and the Set-Cookie value that it takes along (`""`: it has one)."""

    url: str
    cookie: str = ""


class Arrival(Struct, frozen=True, kw_only=True):
    """Somebody has come back signed in: where they wanted to go (`""`: nowhere), and the session's Set-Cookie value."""

    next: str
    cookie: str


class RefusedError(Exception):
    """Somebody may not enter. `str` is a sentence for them, `hint` what they can do, `next` where they wanted to go.

    `other`: the provider at which another account of theirs might do. `stale`: what they sent was used already, or was
    never theirs; whoever is signed in has lost nothing by it.
    """

    def __init__(self, message: str, *, hint: str = "", other: str = "", stale: bool = False) -> None:
        super().__init__(message)
        self.hint = hint
        self.other = other
        self.stale = stale
        self.next = ""


class TooOftenError(RefusedError):
    """They have tried too often, and may try again in so many `seconds` (at least 1)."""

    def __init__(self, seconds: float) -> None:
        self.seconds = max(1, math.ceil(seconds))
        super().__init__(
            f"There were too many failed attempts to sign in. Wait {_words(self.seconds)}, then try again."
        )


class UnansweredError(Exception):
    """Whoever could say whether they may enter does not answer. `str` is a sentence for them.

    `untried`: nobody has seen the password. Otherwise it may have been judged in part (a stack of two PAM modules, of
    which one is down), and counts as a failed try.
    """

    def __init__(self, sentence: str, *, untried: bool = False) -> None:
        super().__init__(sentence)
        self.untried = untried


def _words(seconds: int) -> str:
    if seconds < 100:  # noqa: PLR2004 - above it, minutes read better
        return "1 second" if seconds == 1 else f"{seconds} seconds"
    return f"{math.ceil(seconds / 60)} minutes"


class Auth(Protocol):
    """Sign-in and sign-out, as the gateway does them. Every verb may raise StateUnavailableError."""

    @property
    def sign_in_links(self) -> bool:
        """Whether one-time sign-in links are how people enter (the one-machine mode)."""
        ...

    @property
    def providers(self) -> tuple[Provider, ...]:
        """The ways to sign in, in the order of the configuration."""
        ...

    async def sign_in(self, provider: str, fields: Mapping[str, str], request: Request[Any, Any, Any]) -> User:
        """The user whom the fields of the sign-in form prove; made at the first sign-in.

        Raises RefusedError, TooOftenError and UnansweredError.
        """
        ...

    async def depart(
        self, provider: str, next_url: str, request: Request[Any, Any, Any], *, other: bool = False
    ) -> Departure:
        """Begin to sign in at a provider of form `link`; it leads to `next_url` in the end. Raises RefusedError.

        `other`: with another account than the one that they are signed in with there.
        """
        ...

    async def arrive(self, provider: str, answer: Mapping[str, str], request: Request[Any, Any, Any]) -> Arrival:
        """What a provider has sent the browser back with. `provider`: the name in the address that it came to, or `""`.

        A session that the browser had ends. Raises RefusedError.
        """
        ...

    async def farewell(self, request: Request[Any, Any, Any]) -> str:
        """Where the browser goes after signing out, to sign out there too; `""`: nowhere. The session does not end."""
        ...

    async def ended_there(self, provider: str, logout_token: str) -> None:
        """A provider says that somebody has signed out: what they had open here by it ends. Raises RefusedError."""
        ...

    async def sign_in_with_link(self, secret: str) -> User | None:
        """The user of a one-time link, which is used up by this; None when it is not valid (any more)."""
        ...

    async def open_session(self, user: User, request: Request[Any, Any, Any], *, way: str = "") -> str:
        """A new session with a new id, whatever the browser sent; the value of its Set-Cookie header.

        `way`: how they signed in, for the audit.
        """
        ...

    async def close_session(self, request: Request[Any, Any, Any]) -> str:
        """End the request's session on every worker; the value of the Set-Cookie header that clears it."""
        ...

    def entrance(self, request: Request[Any, Any, Any]) -> str:
        """What a browser brings that is on its way into the host of a person's servers; `""`: nothing."""
        ...

    def origin_cookie(self, secret: str, *, lifetime: int) -> str:
        """The value of the Set-Cookie header that gives it its token for that host."""
        ...

    async def close_open(self, *, digests: tuple[str, ...] = (), user: str = "") -> None:
        """End what is open under these credentials (or all of this user's): WebSockets, cached identities."""
        ...
