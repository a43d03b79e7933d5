"""Checks whether a request with a cookie was sent by the hub's own pages.

Owns the rule on Origin and Sec-Fetch-Site. Does not know about sessions. A request proven by a token in its
Authorization header needs no such rule: no foreign page can add that header.

Sources: Fetch Metadata (W3C), RFC 6454, RFC 6455 section 10.2; field.md E1 (CVE-2026-40864: Sec-Fetch-Mode is not
looked at; only Sec-Fetch-Site says who sent it).
"""

from typing import Final

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


def own_origin(scheme: str, host: bytes) -> bytes:
    """Return the hub's origin for a request, as browsers write it."""
    origin = scheme.encode("ascii") + b"://" + host.lower()
    if scheme == "https" and origin.endswith(b":443"):
        return origin[:-4]
    if scheme == "http" and origin.endswith(b":80"):
        return origin[:-3]
    return origin


def from_ourselves(*, origin: bytes | None, fetch_site: bytes | None, own: bytes) -> bool:
    """Check an unsafe request or a WebSocket with a cookie. One of the headers must confirm the origin.

    If both are present, both are checked. `same-site` is another subdomain and is rejected. `none` (typed by the
    user) does not occur with an unsafe request from a page and is rejected.
    """
    if fetch_site is not None and fetch_site != b"same-origin":
        return False
    if origin is not None:
        return origin.lower() == own
    return fetch_site is not None
