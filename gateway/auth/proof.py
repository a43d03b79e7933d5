"""What a way to sign in is: how it is shown, and what it proves of somebody.

Owns: the seam between providers and admission (`gateway.auth.shared`).
Refuses to know any provider, sessions and pages.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from msgspec import Struct

from portal.auth import Provider


class Proven(Struct, frozen=True, kw_only=True):
    """What a provider says of somebody, once they have proved it.

    `name`: the hub's name for them, by the provider's rule. `groups`: all of theirs that the provider knows; None: it
    knows of no groups, and what the hub holds stays. `admin`: whether the provider's own rule makes them one;
    `allowed`: whether it lets them in. `shown`: the name that the provider itself has for them, for sentences.
    """

    name: str
    groups: tuple[str, ...] | None = None
    admin: bool = False
    allowed: bool = False
    shown: str = ""


class Proof(Protocol):
    """One provider."""

    @property
    def shown(self) -> Provider:
        """For the sign-in page."""
        ...

    async def prove(self, fields: Mapping[str, str], request: Any) -> Proven:
        """Who sent this form. Raises RefusedError, or UnansweredError where nobody could tell."""
        ...
