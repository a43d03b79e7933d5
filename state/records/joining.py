"""How a gateway or another controller joins a hub: the values that both sides write into the state store.

    towpath controller invite      -> a token; the invitation in the store, sealed for controllers
    towpath gateway join           -> a request, sealed with the token's key
    the leading controller         -> an answer, sealed with the same key; the invitation is used up
    a gateway that has joined      -> its certificates and requests for new ones, unsealed: they contain no secret
    the leading controller         -> certificates for the same keys, before the old ones expire

A gateway's private keys never leave its machine. A token is valid for one join and for a limited time.
"""

import re
import secrets
from typing import Final, Literal

from msgspec import Struct, field

from state.errors import TowpathError

Role = Literal["gateway", "controller"]
INVITATION_SECONDS: Final = 3600
"""Lifetime of a token, unless the admin sets another."""
ANSWER_SECONDS: Final = 600
"""How long requests and answers are kept."""
GATEWAY_ID_LENGTH: Final = 32
"""Of the SHA-256 (hex) of a gateway's public key (DER), which is its id."""
REFUSED: Final = b""
"""The answer to a request with an unknown token."""
_PREFIX: Final = "towpath-join"
_TOKEN: Final = re.compile(rf"{_PREFIX}\.([0-9a-f]{{16}})\.([0-9a-f]{{64}})")


class JoinTokenError(TowpathError):
    """The text is not a join token."""


class JoinToken(Struct, frozen=True):
    """A one-time token. `id` is public, `key` (32 bytes) is the secret that both sides seal with."""

    id: str
    key: bytes

    @classmethod
    def new(cls) -> "JoinToken":
        """Return a fresh token."""
        return cls(id=secrets.token_hex(8), key=secrets.token_bytes(32))

    @classmethod
    def parse(cls, text: str) -> "JoinToken":
        """Return the token in this text. Raises JoinTokenError."""
        found = _TOKEN.fullmatch(text.strip())
        if found is None:
            raise JoinTokenError(f"This is not a join token. Copy the whole token, which begins with {_PREFIX}.")
        return cls(id=found[1], key=bytes.fromhex(found[2]))

    def text(self) -> str:
        """Return the token as text for the process that joins."""
        return f"{_PREFIX}.{self.id}.{self.key.hex()}"

    def __repr__(self) -> str:
        return f"JoinToken(id={self.id!r})"


class Invitation(Struct, frozen=True, kw_only=True):
    """What the controller keeps about a token. `expires`: seconds since the epoch."""

    role: Role
    key: bytes
    expires: float


class JoinRequest(Struct, frozen=True, kw_only=True):
    """The request of a joining process. A gateway sends two certificate requests (PEM, PKCS #10) for one key."""

    role: Role
    host: str
    gateway_request: str = ""
    reports_request: str = ""


class JoinAnswer(Struct, frozen=True, kw_only=True):
    """The controller's answer: certificates (PEM) for a gateway, files of the authority for a controller.

    `refusal`: a message if there is neither.
    """

    authority: str = ""
    gateway: str = ""
    reports: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    refusal: str = ""


class GatewayCertificates(Struct, frozen=True, kw_only=True):
    """What a joined gateway publishes, so that its certificates are renewed. `host` is for display."""

    host: str
    gateway: str
    reports: str
    gateway_request: str
    reports_request: str


class RenewedCertificates(Struct, frozen=True, kw_only=True):
    """What the controller publishes for one gateway: certificates (PEM) for the keys that the gateway has."""

    authority: str
    gateway: str
    reports: str
