"""What a way to sign in is: how it is shown, and what it proves of somebody.

Owns: the seam between providers and admission (`gateway.auth.shared`).
Refuses to know any provider, sessions and pages.
"""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from msgspec import Struct

from portal.site.sign_in import Provider
from state.records.models import Standing


class Proven(Struct, frozen=True, kw_only=True):
    """What a provider says of somebody, once they have proved it.

    `name`: the hub's name for them, by the provider's rule. `groups`: all of theirs that the provider knows; None: it
    knows of no groups, and what the hub holds stays. `admin`: whether the provider's own rule makes them one;
    `allowed`: whether it lets them in. `shown`: the name that the provider itself has for them, for sentences;
    `subject`: its name for the account, which never changes (`""`: it has none). `asks`: whether it can be asked about
    them later (`Asked`), with what is `kept` until then.
    """

    name: str
    groups: tuple[str, ...] | None = None
    admin: bool = False
    allowed: bool = False
    shown: str = ""
    subject: str = ""
    asks: bool = False
    kept: str = ""


class GoneError(Exception):
    """A provider vouches for somebody no more. `str` says why, for the log."""


class UnsureError(Exception):
    """A provider cannot be asked just now, which proves nothing about anybody."""


class Proof(Protocol):
    """One provider."""

    @property
    def shown(self) -> Provider:
        """For the sign-in page."""
        ...

    async def prove(self, fields: Mapping[str, str], request: Any) -> Proven:
        """Who sent this form. Raises RefusedError, or UnansweredError where nobody could tell."""
        ...


@runtime_checkable
class Asked(Proof, Protocol):
    """A provider that can be asked later whether it still vouches for somebody."""

    async def again(self, standing: Standing) -> tuple[Proven, str]:
        """What it says of them now, and what is to be kept (`Standing.sealed`). Raises GoneError, UnsureError."""
        ...

    async def forget(self, standing: Standing) -> None:
        """The session is over: so is what was kept for it. Never raises."""
        ...


@runtime_checkable
class Closable(Protocol):
    """A provider that holds connections."""

    async def close(self) -> None:
        """Close them."""
        ...


def as_before(standing: Standing) -> Proven:
    """What was proven when the provider last spoke; of groups it says nothing."""
    return Proven(
        name=standing.user,
        allowed=standing.allowed,
        admin=standing.admin,
        shown=standing.shown,
        subject=standing.subject,
    )
