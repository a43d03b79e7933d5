"""The interface to the hub's OAuth provider, which the gateway implements.

Owns the methods and the shapes of their results. Does not know OAuth's rules: it shows a page or redirects.
"""

from typing import Any, Protocol

from litestar import Request
from msgspec import Struct

from state.rights.identity import Identity
from state.rights.oauth_clients import Client

Fields = list[tuple[str, str]]
"""The fields of a query or form, in order and unmodified, so that repeated names are detected."""


class Onward(Struct, frozen=True):
    """The browser is redirected to the client, with a code or an error."""

    url: str


class Consent(Struct, frozen=True):
    """The user must be asked for consent first: whether `client` may act in their name."""

    client: Client
    scopes: tuple[str, ...]


class TokenAnswer(Struct, frozen=True):
    """The response to the client (RFC 6749 sections 5.1 and 5.2)."""

    status: int
    body: dict[str, object]
    headers: dict[str, str]


class OAuthRefusedError(Exception):
    """The request is rejected without a redirect: its client or redirect URI is not valid, or the user may not use it.

    `str` is a message for the user.
    """

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class Provider(Protocol):
    """All methods may raise StateUnavailableError.

    `identity` has a session. `request`: of the user's browser, for the audit, in which each consent and each refusal
    is recorded, except for the user's own servers, which need no consent.
    """

    async def ask(self, fields: Fields, identity: Identity, request: Request[Any, Any, Any]) -> Onward | Consent:
        """Process an authorization request. Raises OAuthRefusedError."""
        ...

    async def decide(
        self, fields: Fields, identity: Identity, request: Request[Any, Any, Any], *, granted: bool
    ) -> Onward:
        """Process the same request with the user's decision. Raises OAuthRefusedError."""
        ...

    async def exchange(self, fields: Fields, authorization: str) -> TokenAnswer:
        """Process a token request. `authorization`: the header's value, or `""`."""
        ...
