"""What leaves the hub and comes back, and nobody else may read or change: AES-256-GCM (NIST SP 800-38D).

Owns: the gateway's one door to `cryptography`. Refuses to know what is sealed, and where keys are from. A hundredth of
the time that a JWE of joserfc takes, which is for what must last and say of itself how it was made.
"""

import base64
import binascii
import secrets
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_BYTES: Final = 12
"""Random each time: good for 2^32 contents of one key (section 8.3)."""


class Box:
    """By one key of 32 bytes."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def close(self, content: bytes) -> str:
        """The sealed content, as it may stand in an URL."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, content, None)
        return base64.urlsafe_b64encode(sealed).decode().rstrip("=")

    def open(self, text: str) -> bytes | None:
        """The content; None: it was not sealed with this key, or was changed."""
        try:
            sealed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], None)
        except (binascii.Error, InvalidTag, ValueError):
            return None
