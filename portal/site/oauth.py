"""What the portal asks of the hub as an OAuth provider: the gateway supplies it.

Owns: the verbs and the shapes of their answers. Refuses to know OAuth's rules: it shows a page, or sends on.
"""

from typing import Protocol

from msgspec import Struct

from state.rights.identity import Identity
from state.rights.oauth_clients import Client

Fields = list[tuple[str, str]]
"""A query's or a form's fields, in order, as they came: a name that is there twice must be seen."""


class Onward(Struct, frozen=True):
    """The browser goes back to the client, with a code or an error.

    `client` was let act for a person, with `scopes`; or, `given` False, was not. None: nothing came of it, or it is a
    server of the person's own, which is let anyway.
    """

    url: str
    client: Client | None = None
    given: bool = False
    scopes: tuple[str, ...] = ()


class Consent(Struct, frozen=True):
    """The person is to be asked first: whether `client` may do this in their name."""

    client: Client
    scopes: tuple[str, ...]


class TokenAnswer(Struct, frozen=True):
    """What the client is told (RFC 6749 sections 5.1 and 5.2)."""

    status: int
    body: dict[str, object]
    headers: dict[str, str]


class OAuthRefusedError(Exception):
    """The request goes back to nobody: its client or its address is not to be believed, or the person may not use it.

    `str` is a sentence for the person.
    """

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class Provider(Protocol):
    """Every verb may raise StateUnavailableError. `identity` has a session."""

    async def ask(self, fields: Fields, identity: Identity) -> Onward | Consent:
        """An authorisation request. Raises OAuthRefusedError."""
        ...

    async def decide(self, fields: Fields, identity: Identity, *, granted: bool) -> Onward:
        """The same request once more, with what the person decided. Raises OAuthRefusedError."""
        ...

    async def exchange(self, fields: Fields, authorization: str) -> TokenAnswer:
        """A token request. `authorization`: that header's value, or `""`."""
        ...
