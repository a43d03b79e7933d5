"""An origin per user for their servers: `alice.hub.example.org` serves only what is under /user/alice/.

Owns the mapping between users and hosts, and the URLs of both. Does not know requests or cookies. Pure.

A name that is not a DNS label (RFC 1123 section 2.1) becomes `u--` and a hash of it, so that two names never share a
host.
"""

import base64
import hashlib
import re
from typing import Final
from urllib.parse import urlsplit

from state.config.tables import GatewayConfig

LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
HASHED: Final = "u--"
_HASH_LENGTH: Final = 32


class Origins:
    """The origins of a hub with `[gateway] user_domain`."""

    def __init__(self, config: GatewayConfig) -> None:
        """Raises ValueError if the configuration has no `user_domain`."""
        public = urlsplit(config.public_url)
        if not config.user_domain or not public.hostname:
            raise ValueError("no user_domain")
        port = f":{public.port}" if public.port else ""
        host = f"[{public.hostname}]" if ":" in public.hostname else public.hostname
        self.hub = f"{public.scheme}://{host}{port}"
        """The hub's own origin."""
        self.every = f"{public.scheme}://*.{config.user_domain}{port}"
        """All users' origins, as in a Content-Security-Policy (CSP level 3, host-source)."""
        self._scheme, self._port = public.scheme, port
        self._suffix = f".{config.user_domain}".encode()
        self._domain = config.user_domain

    def of(self, user: str) -> str:
        """Return the origin of a user's servers."""
        return self.at_label(label(user))

    def at_label(self, name: str) -> str:
        """Return the origin of the host with this label."""
        return f"{self._scheme}://{name}.{self._domain}{self._port}"

    def label_in(self, host: bytes) -> str:
        """Return the label in a host name (lowercase, without port); `""` if it is not a user's host."""
        if not host.endswith(self._suffix):
            return ""
        found = host[: -len(self._suffix)].decode("ascii", "replace")
        return found if LABEL.fullmatch(found) else ""


def origin_of(config: GatewayConfig, user: str) -> str:
    """Return the origin of a user's servers; `""` if it is the hub's."""
    return Origins(config).of(user) if config.user_domain else ""


def label(user: str) -> str:
    """Return the DNS label of a username."""
    if LABEL.fullmatch(user) and not user.startswith((HASHED, "xn--")):
        return user
    digest = hashlib.sha256(user.encode()).digest()
    return HASHED + base64.b32encode(digest).decode().rstrip("=").lower()[:_HASH_LENGTH]
