"""URLs and hosts in a configuration: which are whole, and which stay on this machine.

Owns: those judgements. Refuses to know what a URL is for. Pure functions.
"""

import ipaddress
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_web_url(url: str) -> bool:
    """Whether this is an URL of http or https, with a host."""
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False


def is_private(url: str) -> bool:
    """Whether nobody on the way can read or change what goes there: https, or plain http within this machine.

    No fragment, no user info, nothing that would need escaping.
    """
    if not is_web_url(url) or "#" in url or not url.isascii() or any(character <= " " for character in url):
        return False
    parts = urlsplit(url)
    return parts.username is None and (parts.scheme == "https" or is_loopback(parts.hostname or ""))
