"""The interface of sign-in providers, and what they prove about a user.

Owns the interface between providers and admission (`gateway.auth.shared`).
Does not know about single providers, sessions and pages.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from msgspec import Struct

from gateway.auth.portal_request import PortalRequest
from gateway.tunnel.options import Network
from portal.site.sign_in import Provider
from state.config.tables import AuthConfig
from state.records.models import Flow, Standing

if TYPE_CHECKING:
    from gateway.auth.oidc.engine import ProviderAccount
    from gateway.auth.oidc.logout import Ended


class ProofContext(Struct, frozen=True, kw_only=True):
    """What a provider is opened with. `hub_url`: of the hub's pages. `name_of`: from its names to the hub's.

    `name_of` raises RefusedError.
    """

    auth: AuthConfig
    hub_url: str
    proxies: tuple[Network, ...]
    shown: Provider
    name_of: Callable[[str], str]


class Proven(Struct, frozen=True, kw_only=True):
    """What a provider reports about a user who has signed in.

    `name`: the hub's name for the user, by the provider's rule. `groups`: all groups of the user; None: the provider
    has no groups, and the hub keeps those that it has. `admin`: whether the provider's rule makes the user an admin.
    `allowed`: whether its rule allows the sign-in. `shown`: the provider's own name for the user, for messages.
    `subject`: the provider's permanent id of the account; `""`: it has none. `asks`: whether the provider can be asked
    again later (`RecheckableProof`), with the data in `kept`. `auth_state`: what the provider leaves for hooks, if the
    site asks for it.
    """

    name: str
    groups: tuple[str, ...] | None = None
    admin: bool = False
    allowed: bool = False
    shown: str = ""
    subject: str = ""
    asks: bool = False
    kept: str = ""
    auth_state: dict[str, Any] | None = None


class GoneError(Exception):
    """A provider no longer confirms a user. `str` is the reason, for the log."""


class UnsureError(Exception):
    """A provider cannot be asked at the moment. This says nothing about the user."""


class Proof(Protocol):
    """A sign-in provider."""

    @property
    def shown(self) -> Provider:
        """The provider as the sign-in page shows it."""
        ...

    async def prove(self, fields: Mapping[str, str], request: PortalRequest) -> Proven:
        """Return who sent this form. Raises RefusedError, or UnansweredError if it could not be checked."""
        ...


@runtime_checkable
class RecheckableProof(Proof, Protocol):
    """A provider that can be asked later whether it still confirms a user."""

    async def again(self, standing: Standing) -> tuple[Proven, str]:
        """Return what it reports now, and the data to keep (`Standing.sealed`). Raises GoneError, UnsureError."""
        ...

    async def forget(self, standing: Standing) -> None:
        """Discard what was kept for a session that has ended. Never raises."""
        ...


@runtime_checkable
class RedirectingProof(Proof, Protocol):
    """A provider that signs users in on pages of its own (OpenID Connect, OAuth 2)."""

    async def depart(self, browser: str, next_url: str, *, other: bool, sealing: Callable[[Flow], str]) -> str:
        """Return the URL of its page. Raises RefusedError."""
        ...

    async def arrive(self, flow: Flow, answer: Mapping[str, str]) -> tuple["ProviderAccount", Proven]:
        """Return the user who came back. Raises RefusedError."""
        ...

    def kept(self, account: "ProviderAccount") -> tuple[str, bool]:
        """Return what to keep, encrypted, and whether the provider can be asked again with it."""
        ...

    async def ended(self, logout_token: str) -> "Ended":
        """Return the sessions that the provider's logout token names. Raises RefusedError."""
        ...


@runtime_checkable
class SignOutProof(Protocol):
    """A provider that users also sign out from."""

    async def goodbye(self, standing: Standing) -> str:
        """Return the URL that signs the user out there; `""`: none."""
        ...


@runtime_checkable
class Closable(Protocol):
    """A provider that holds connections."""

    async def close(self) -> None:
        """Close them."""
        ...


def as_before(standing: Standing) -> Proven:
    """Return what was proven at the last check, without groups."""
    return Proven(
        name=standing.user,
        allowed=standing.allowed,
        admin=standing.admin,
        shown=standing.shown,
        subject=standing.subject,
    )
