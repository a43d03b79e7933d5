"""An origin for each person's servers: `alice.hub.example.org` serves what is under /user/alice/ and nothing else.

Owns: which host that is, which host names mean whom, and the URL of either. Refuses to know requests and cookies. Pure.

A name that is no DNS label (RFC 1123 section 2.1) stands as `u--` and a hash of it: two names never share a host.
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
    """The origins of one hub, which has `[gateway] user_domain`."""

    def __init__(self, config: GatewayConfig) -> None:
        """Raises ValueError where the configuration has none."""
        public = urlsplit(config.public_url)
        if not config.user_domain or not public.hostname:
            raise ValueError("no user_domain")
        port = f":{public.port}" if public.port else ""
        host = f"[{public.hostname}]" if ":" in public.hostname else public.hostname
        self.hub = f"{public.scheme}://{host}{port}"
        """The hub's own origin."""
        self.every = f"{public.scheme}://*.{config.user_domain}{port}"
        """All persons' origins, as a Content-Security-Policy names them (CSP level 3, host-source)."""
        self._scheme, self._port = public.scheme, port
        self._suffix = f".{config.user_domain}".encode()
        self._domain = config.user_domain

    def of(self, user: str) -> str:
        """The origin of a person's servers."""
        return self.at_label(label(user))

    def at_label(self, name: str) -> str:
        """The origin of the host with this label."""
        return f"{self._scheme}://{name}.{self._domain}{self._port}"

    def label_in(self, host: bytes) -> str:
        """Whose origin a host name (without port, in small letters) is, as a label; `""`: the hub's, or another's."""
        if not host.endswith(self._suffix):
            return ""
        found = host[: -len(self._suffix)].decode("ascii", "replace")
        return found if LABEL.fullmatch(found) else ""


def origin_of(config: GatewayConfig, user: str) -> str:
    """The origin of a person's servers, where it is not the hub's; `""`: it is."""
    return Origins(config).of(user) if config.user_domain else ""


def label(user: str) -> str:
    """The DNS label of a person's name."""
    if LABEL.fullmatch(user) and not user.startswith((HASHED, "xn--")):
        return user
    digest = hashlib.sha256(user.encode()).digest()
    return HASHED + base64.b32encode(digest).decode().rstrip("=").lower()[:_HASH_LENGTH]
