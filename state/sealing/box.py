"""Authenticated encryption with one key: AES-256-GCM (NIST SP 800-38D).

Random nonces are safe for 2^32 contents under one key (section 8.3). Sealed content is 28 bytes longer.
"""

import base64
import binascii
import secrets
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from state.errors import TowpathError

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12


class SealError(TowpathError):
    """Sealed content was changed, belongs to another context, or was sealed with another key."""


class Box:
    """Seals and opens contents with one key of 32 bytes. The context is authenticated, but not part of the output."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, content: bytes, context: bytes = b"") -> bytes:
        """Encrypt the content. Only `open` with the same key and context returns it."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, content, context)

    def open(self, sealed: bytes, context: bytes = b"") -> bytes:
        """Return the content. Raises SealError."""
        try:
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context)
        except (InvalidTag, ValueError) as error:
            raise SealError("This was not sealed with this key for this purpose.") from error

    def seal_text(self, content: bytes) -> str:
        """Encrypt the content, in characters that need no escaping in a URL."""
        return base64.urlsafe_b64encode(self.seal(content)).decode().rstrip("=")

    def open_text(self, text: str) -> bytes | None:
        """Return the content of `seal_text`, or None if it was changed or sealed with another key."""
        try:
            return self.open(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
        except (binascii.Error, SealError, ValueError):
            return None
