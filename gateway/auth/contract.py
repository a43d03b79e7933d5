"""The contract of a way to sign in that another package brings (docs/plug-ins.md).

The package describes its kind with `state.plugins.authenticators.AuthenticatorKind`, whose `open` names a function
`open(options, context: AuthenticatorContext) -> Authenticator`. An authenticator only proves a user's identity. The hub
maps names, decides who may sign in and who is an admin, counts failed passwords, and keeps the session.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from msgspec import Struct

from gateway.auth.proof import GoneError, UnsureError
from portal.site.sign_in import RefusedError, UnansweredError

__all__ = [
    "Account",
    "Authenticator",
    "AuthenticatorContext",
    "GoneError",
    "Probed",
    "RefusedError",
    "SignInRequest",
    "UnansweredError",
    "UnsureError",
]


class SignInRequest(Struct, frozen=True, kw_only=True):
    """The request that asks for a sign-in.

    `fields`: the form's; `username` and `password` for a kind with `form = "password"`, none for a link. `headers`: by
    lowercase name, in their order; a name can occur several times. `peer`: the IP address at the other end of the
    connection, which may be a proxy's. `address`: the user's address, as the site's trusted proxies report it.
    """

    fields: Mapping[str, str]
    headers: tuple[tuple[str, str], ...]
    peer: str
    address: str


class Account(Struct, frozen=True, kw_only=True):
    """A proven account at the provider.

    `name`: as the provider spells it. `groups`: all groups of the account; None: the provider knows of no groups, and
    the hub's own stay. `subject`: the provider's permanent id of the account, so that a name which is reused by another
    account is noticed; `""`: it has none. `kept`: what `check` needs to ask again, saved with the session in the store
    without encryption. So it must not be a secret. `auth_state`: values for hooks (JSON types), kept encrypted if the
    site asks for them; None: no new ones.
    """

    name: str
    groups: tuple[str, ...] | None = None
    subject: str = ""
    kept: str = ""
    auth_state: dict[str, Any] | None = None


class Probed(Struct, frozen=True, kw_only=True):
    """What `towpath check` finds about a provider. `doubt`: it works, but an admin should know of it.

    `passing`: what is wrong may be better later, so a hub starts nevertheless.
    """

    good: bool
    text: str
    doubt: bool = False
    passing: bool = False


class AuthenticatorContext(Struct, frozen=True, kw_only=True):
    """What an authenticator is opened with beside its options.

    `provider`: the name of its `[[auth.provider]]`. `trusted_proxies`: networks such as 10.0.0.0/8 whose headers the
    site trusts. `hub_url`: the URL of the hub's pages, with a slash at the end.
    """

    provider: str
    trusted_proxies: tuple[str, ...]
    hub_url: str


class Authenticator(Protocol):
    """One configured provider, in one gateway worker. Calls run in the worker's event loop and must not block it.

    A call that takes longer than the kind's `timeout`, or raises anything else than what is listed here, counts as no
    answer: nobody signs in, and nobody who is signed in is signed out.
    """

    async def prove(self, request: SignInRequest) -> Account:
        """Return the account that this request proves.

        Raises RefusedError with a sentence for the user, or UnansweredError if the provider does not answer.
        """
        ...

    async def check(self, kept: str) -> Account:
        """Return the account as it is now. Called every `refresh` seconds while a session or token depends on it.

        Raises GoneError if the account may not sign in any more: its sessions and tokens end. Raises UnsureError if
        that is not known now.
        """
        ...

    async def close(self) -> None:
        """Close connections."""
        ...
