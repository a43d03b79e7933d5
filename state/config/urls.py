"""Checks of URLs and hosts in a configuration.

Owns which URLs are valid, and which stay on this machine. Does not know what a URL is for. Pure.
"""

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

PLAIN_PATH: Final = re.compile(r"/[^\0\n]*")
"""An absolute path on one line."""


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a listener on this host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_web_url(url: str) -> bool:
    """Return whether this is an http or https URL with a host."""
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False


def is_origin(text: str) -> bool:
    """Return whether this is an origin as browsers write it: lowercase, without a default port or a path (RFC 6454)."""
    if not is_web_url(text) or not text.isascii():
        return False
    parts = urlsplit(text)
    default = {"http": 80, "https": 443}[parts.scheme]
    port = f":{parts.port}" if parts.port not in {None, default} else ""
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return "*" not in text and text == f"{parts.scheme}://{host}{port}"


def is_private(url: str) -> bool:
    """Return whether nobody on the network can read or change requests to this URL: https, or http within this machine.

    The URL must have no fragment and no user info, and need no escaping.
    """
    if not is_web_url(url) or "#" in url or not url.isascii() or any(character <= " " for character in url):
        return False
    parts = urlsplit(url)
    return parts.username is None and (parts.scheme == "https" or is_loopback(parts.hostname or ""))
